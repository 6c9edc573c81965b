"""Replicate's predictions, models and versions, as its client libraries use them."""
