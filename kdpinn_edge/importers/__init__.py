"""What becomes a Program: a torch module, and everything that the command line accepts as MODEL."""
