"""Masking hides names, tickers and dates from a model."""
