"""Puts everything together: command line, commands, benches and the Python face."""
