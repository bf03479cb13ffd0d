"""What a run shows: the printed table, the plots and the report."""
