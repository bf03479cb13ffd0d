"""One book in the Nautilus engine: its feed, its desk, its cash flows and its records."""
