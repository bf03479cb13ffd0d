"""`bench`: speed and learning, measured."""
