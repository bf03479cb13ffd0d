"""Environments: the market's rules as arrays, certified against the engine."""
