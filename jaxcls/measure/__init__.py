"""What the stored logits of a run tell: figures, curves, calibration, thresholds, comparison of runs. NumPy alone."""
