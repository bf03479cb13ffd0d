"""Names, tickers and dates, hidden from a model."""
