"""An equation: the fields that describe it, and the numbers that it calculates with."""
