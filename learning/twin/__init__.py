"""Books lived in the twin of desk and engine."""
