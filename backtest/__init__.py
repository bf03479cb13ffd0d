"""Sources, catalog, simulator, run, report and statistics."""
