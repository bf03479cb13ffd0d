"""Venues take a live node's orders and fill them."""
