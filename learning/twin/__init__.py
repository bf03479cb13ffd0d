"""The twin: the market's rules and the desk's as arrays, certified against the engine."""
