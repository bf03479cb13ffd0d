"""Trains and evaluates what learns: settings, folders and progress of each command."""
