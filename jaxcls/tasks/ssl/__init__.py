"""Learning without labels, from two views of each picture: one method a file on a shared frame (frame.py)."""
