"""The risk gate: limits, rules, measures, the risk model, and the state of books under it."""
