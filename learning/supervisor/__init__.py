"""
Training the supervisor offline: every route of every case, and a learner fitted to them.

`collect` runs the routes, `table` keeps them, `train` fits and validates a learner.
"""
