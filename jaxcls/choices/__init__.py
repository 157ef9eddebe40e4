"""Spaces of discrete choices: samplers that are asked and told, what they find on a table, rankings. NumPy alone."""
