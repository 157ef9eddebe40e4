"""Training for INT8: a model around a model, in which 8 bits are simulated."""
