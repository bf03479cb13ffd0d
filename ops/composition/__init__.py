"""Turns settings into markets, minds, runs, trainings and answers."""
