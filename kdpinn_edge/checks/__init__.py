"""What is proved of a bundle: that it is whole and agrees with its Program, and how far it violates its equation."""
