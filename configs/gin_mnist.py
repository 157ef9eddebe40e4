"""A graph net, GIN (105,504 parameters), on MNIST as graphs of about 75 superpixels.

jaxcls prepare mnist
jaxcls prepare tfds/mnist --superpixels 75 --out mnist75
jaxcls train --config=gin_mnist

`:none` and `:shuffled` are the same net without edges and with edges between other nodes; `:gcn` and `:gat` are other
layers. Of one's own graphs: --config.data.name=graphs/FOLDER (docs/graphs.md). 97.1 % of the test digits, 94.1 %
without edges, 98.8 % by LeNet-5 on the pictures themselves (docs/results.md); 18 minutes of a CPU core.
"""

from jaxcls.defaults import default_config
from jaxcls.errors import UserError

ARMS = ("none", "shuffled", "gcn", "gat")


def get_config(arg=""):
    """`:tiny` trains for 20 steps; `:none`, `:shuffled`, `:gcn`, `:gat`: the arms, also `:tiny,none`."""
    given = set(filter(None, arg.split(",")))
    if unknown := sorted(given - {"tiny", *ARMS}):
        raise UserError(f"gin_mnist has no variant {unknown[0]!r}; it has tiny, {', '.join(ARMS)}.")
    tiny = "tiny" in given
    config = default_config()
    config.duration = "20 steps" if tiny else "10 epochs"
    config.batch_size = 64
    edges = next((arm for arm in ("none", "shuffled") if arm in given), "")
    config.data.name = f"graphs/mnist75?edges={edges}" if edges else "graphs/mnist75"
    config.data.validation = 0.0  # the recipe is fixed: nothing is selected, the last state is the result
    config.data.normalize = "mnist"
    config.model.name = next((arm for arm in ("gcn", "gat") if arm in given), "gin")
    config.model.fields = {"readout": "mean"}  # sums of 75 nodes make logits in the tens, and steps as wild
    config.optim.name = "adam"
    config.optim.weight_decay = 0.0
    config.schedule.peak = 3e-3
    config.schedule.warmup = "2 steps" if tiny else "5%"
    return config
