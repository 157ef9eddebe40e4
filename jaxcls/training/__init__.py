"""Training and evaluating one run: the loop, the step, what feeds it, and the way from a config to them."""
