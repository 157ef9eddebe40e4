"""The report's sections where a picture may have several labels, or none."""
