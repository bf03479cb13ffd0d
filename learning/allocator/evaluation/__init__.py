"""What trained policies earn on windows that they never saw."""
