"""`evaluate`: what was learned, on what it never saw."""
