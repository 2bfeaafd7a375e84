"""The equations: one per file."""
