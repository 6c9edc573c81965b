"""Paints landscapes and their captions. Pure drawing: words and numbers in, a Pillow image out."""
