"""Structured pruning: which channels of a network go together, how much they matter, and which of them go."""
