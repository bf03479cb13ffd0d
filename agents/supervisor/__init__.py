"""
The supervisor: a contextual bandit that chooses which juniors are asked about an instrument.

`neural_ucb` is the learner, `offline` trains it on recorded routes; `lin_ucb` and `plain_routers`
are what it is measured against.
"""
