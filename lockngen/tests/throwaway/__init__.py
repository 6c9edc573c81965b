"""An app for tests that kill a migration: its second one builds an index while others write."""
