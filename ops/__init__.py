"""The composition root: command line and operations."""
