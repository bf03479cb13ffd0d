"""The multi-asset book's own phases: the specialists and the meta-controller."""
