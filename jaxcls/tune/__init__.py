"""Hyperparameter search: trials that are ordinary runs, drawn from a space, with Optuna as the store (`jaxcls tune`)."""
