"""The commands: what each is called, takes and says; the work is done elsewhere in `ops`."""
