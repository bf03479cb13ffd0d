"""
Training the supervisor offline: all seven routes of every case, and a learner fitted to them.

`collect` runs the routes, `table` keeps them, `train` fits and validates a learner.
"""
