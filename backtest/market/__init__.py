"""A market as data: tables, sessions, the rules of trading, and the catalog that keeps them."""
