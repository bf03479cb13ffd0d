"""Each file is one command: it says what the command takes, and calls what does the work."""
