"""What the bits of a value are: lanes, activations, storage, and the NumPy program that defines the profiles."""
