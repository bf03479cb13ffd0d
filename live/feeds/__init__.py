"""Where a live node's data come from."""
