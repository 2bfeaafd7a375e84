"""Shipped teachers and students."""
