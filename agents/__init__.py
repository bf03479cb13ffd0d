"""Minds: pure, no Nautilus, no clock, no I/O."""
