"""`train`: the learners, offline."""
