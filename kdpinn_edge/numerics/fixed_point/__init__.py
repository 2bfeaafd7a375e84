"""The numerics profile int16-1: a Program in integers, for processors without a floating-point unit.

A number is a word of 32 bits with a binary scale that the export chooses: v = q 2^-f, with one f for each variable. It
is two halves of 16 bits, which is what the multipliers of such processors take: a product is the upper word of the
exact product of two words. `words.py` has the meaning of every operation, `floating.py` that of operations on numbers
that reach over many powers of ten, which have an exponent each. `quantise.py` makes the calls of these words from a
Program and the box of its inputs, and proves that no word overflows anywhere in the box.
"""

PROFILE = "int16-1"
"""The name of the numerics profile."""
