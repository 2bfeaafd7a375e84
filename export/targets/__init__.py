"""Machines: the table of targets, and what a model shows of itself on each."""
