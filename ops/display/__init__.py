"""Prints what commands found, for people or as JSON."""
