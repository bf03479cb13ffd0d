"""Each bench measures one promise of speed, truth or learning."""
