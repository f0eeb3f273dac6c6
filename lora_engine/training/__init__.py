"""Training: the spec of a run, its directory, and the worker process that fills it."""
