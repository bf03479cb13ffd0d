"""Paper and live nodes."""
