"""Tensors whose numbers a Program calculates, and what networks do with them."""
