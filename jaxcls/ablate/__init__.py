"""Ablation ladders: what each trick adds, measured with several seeds (`scripts/ablate.py`)."""
