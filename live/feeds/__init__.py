"""Feeds bring a live node its data."""
