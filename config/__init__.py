"""What humans set: typed settings, secrets, the exception tree."""
