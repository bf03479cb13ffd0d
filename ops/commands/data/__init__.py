"""`data`: market data in, and the experience library out."""
