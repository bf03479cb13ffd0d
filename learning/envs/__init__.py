"""Training environments over the twin, for one group, for the top and for both tiers."""
