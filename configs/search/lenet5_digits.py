"""A search over five numbers of lenet5_digits' recipe: rate, batch, decay, smoothing, and which average is kept.

    jaxcls tune lenet5_digits --space search/lenet5_digits --budget "600 epochs" --workdir=runs/search

The rate is for a batch of 64 and grows in proportion, so that it and the batch can be searched apart.
"""

from jaxcls.defaults import parse_tiny


def get_space(arg=""):
    """`:tiny` has the rate and two batches."""
    rate = "schedule.peak = log(5e-3, 0.5)"
    if parse_tiny(arg):
        return ["rate_per_batch = 64", rate, "batch_size = pow2(32, 64)"]
    return [
        "rate_per_batch = 64",
        rate,
        "batch_size = pow2(16, 256)",
        "optim.weight_decay = log(1e-5, 1e-2)",
        "loss.label_smoothing = linear(0, 0.2)",
        "ema_decay = choice(0.0, 0.9, 0.99)",
    ]
