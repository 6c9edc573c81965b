"""The studio: pages on which people type prompts and see images."""
