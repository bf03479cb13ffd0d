"""Runs a book over a market: sources, catalog, simulator, engine, statistics and report."""
