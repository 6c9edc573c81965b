"""How renderers that are servers are reached: addresses, bounded calls, and why one can't be used."""
