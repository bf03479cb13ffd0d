"""The strategist: turns the juniors' opinions into proposals, by rules or by a language model."""
