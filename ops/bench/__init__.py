"""The benches: each measures one promise of speed, truth or learning."""
