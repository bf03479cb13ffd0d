"""The experience library: what was seen, decided, allowed, done, and what came of it."""
