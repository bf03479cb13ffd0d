"""Where a live node's orders go."""
