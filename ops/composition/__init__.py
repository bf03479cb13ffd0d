"""Where settings become markets, minds, runs and trainings."""
