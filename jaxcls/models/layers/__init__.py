"""What the families share: layers with PyTorch's padding, initialisation and order of axes."""

from jaxcls.models.layers.conv import conv
from jaxcls.models.layers.dense import dense, flatten, logits_layer
from jaxcls.models.layers.init import torch_kernel, torch_uniform, uniform_within
from jaxcls.models.layers.norm import batch_norm
from jaxcls.models.layers.pool import global_mean, max_pool

__all__ = [
    "batch_norm",
    "conv",
    "dense",
    "flatten",
    "global_mean",
    "logits_layer",
    "max_pool",
    "torch_kernel",
    "torch_uniform",
    "uniform_within",
]
