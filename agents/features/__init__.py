"""The features of a case: indicators, evidence, ledgers, the regime, and the routing context."""
