"""Checkpoints: `store` saves and restores those of a run, `view` looks into any without the run's objects."""
