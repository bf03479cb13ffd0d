"""The joint phase: all policies train together over one encoder."""
