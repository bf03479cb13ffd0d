"""Completions that are kept and replayed."""
