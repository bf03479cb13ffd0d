"""Bodies: the Nautilus side of every decision."""
