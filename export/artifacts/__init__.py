"""Files: the library of each kind, how it is linked and checked, and what stands beside it in a bundle."""
