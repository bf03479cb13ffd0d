"""The paper node runs a book on live time or on replayed data."""
