"""What learners train on: a market's features, targets and market arrays, and their windows."""
