"""What the families share: layers with PyTorch's padding, initialisation and order of axes."""

from jaxcls.models.layers.attention import SqueezeExcite
from jaxcls.models.layers.conv import conv
from jaxcls.models.layers.dense import dense, flatten, logits_layer
from jaxcls.models.layers.drop import dropout, rising, stochastic_depth
from jaxcls.models.layers.init import kaiming_normal, torch_kernel, torch_uniform, uniform_within
from jaxcls.models.layers.norm import batch_norm, layer_norm
from jaxcls.models.layers.pool import avg_pool, global_mean, max_pool

__all__ = [
    "SqueezeExcite",
    "avg_pool",
    "batch_norm",
    "conv",
    "dense",
    "dropout",
    "flatten",
    "global_mean",
    "kaiming_normal",
    "layer_norm",
    "logits_layer",
    "max_pool",
    "rising",
    "stochastic_depth",
    "torch_kernel",
    "torch_uniform",
    "uniform_within",
]
