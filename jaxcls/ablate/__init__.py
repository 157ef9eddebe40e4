"""Ablation ladders: what each trick adds, measured with several seeds (`jaxcls ablate`)."""
