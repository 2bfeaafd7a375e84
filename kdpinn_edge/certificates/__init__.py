"""Certificates: statements about a bundle that hold at every point of its domain box, and their proof."""
