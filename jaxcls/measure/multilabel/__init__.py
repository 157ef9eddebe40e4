"""Figures, calibration and thresholds where a picture may have several labels, or none."""
