"""The Program: its operations, their meaning, what is checked, how it is simplified, and its file."""
