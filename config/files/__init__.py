"""Places on disk: where things are kept, and how files are read and written whole."""
