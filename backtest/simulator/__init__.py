"""A market with a known answer: planted structure, a Bayes filter and two oracles."""
