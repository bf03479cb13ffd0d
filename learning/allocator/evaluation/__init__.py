"""What trained policies earn on held-out windows."""
