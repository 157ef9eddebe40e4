"""Hyperparameter search: trials are ordinary runs, drawn from a space; Optuna keeps the study (`jaxcls tune`)."""
