"""What the families share: layers with PyTorch's padding, initialisation and order of axes."""

from jaxcls.models.layers.apart import apart
from jaxcls.models.layers.attention import SqueezeExcite, attention, check_attention
from jaxcls.models.layers.basic_conv import BasicConv
from jaxcls.models.layers.check import check_choice, check_clips, check_positive, check_size
from jaxcls.models.layers.conv import PADDINGS, conv, standardised
from jaxcls.models.layers.conv_norm import conv_norm
from jaxcls.models.layers.convolve import is_plain
from jaxcls.models.layers.dense import dense, flatten, logits_layer, matmul
from jaxcls.models.layers.drop import dropout, rising, stochastic_depth
from jaxcls.models.layers.gelu import gelu, quick_gelu
from jaxcls.models.layers.inflated import inflate, inflated
from jaxcls.models.layers.init import kaiming_normal, torch_kernel, torch_uniform, uniform_within
from jaxcls.models.layers.inverted import InvertedResidual, make_divisible
from jaxcls.models.layers.named import named
from jaxcls.models.layers.norm import batch_norm, layer_norm
from jaxcls.models.layers.pool import adaptive_avg_pool, avg_pool, global_max, global_mean, max_pool, max_pool_clips
from jaxcls.models.layers.position import loaded_table, table_for
from jaxcls.models.layers.remat import REMAT, remat_policy
from jaxcls.models.layers.softmax import softmax
from jaxcls.models.layers.transformer import attend, attend_heads, embed_patches, heads_first, mlp, with_prefix
from jaxcls.models.layers.volume import per_frame

__all__ = [
    "PADDINGS",
    "REMAT",
    "BasicConv",
    "InvertedResidual",
    "SqueezeExcite",
    "adaptive_avg_pool",
    "apart",
    "attend",
    "attend_heads",
    "attention",
    "avg_pool",
    "batch_norm",
    "check_attention",
    "check_choice",
    "check_clips",
    "check_positive",
    "check_size",
    "conv",
    "conv_norm",
    "dense",
    "dropout",
    "embed_patches",
    "flatten",
    "gelu",
    "global_max",
    "global_mean",
    "heads_first",
    "inflate",
    "inflated",
    "is_plain",
    "kaiming_normal",
    "layer_norm",
    "loaded_table",
    "logits_layer",
    "make_divisible",
    "matmul",
    "max_pool",
    "max_pool_clips",
    "mlp",
    "named",
    "per_frame",
    "quick_gelu",
    "remat_policy",
    "rising",
    "softmax",
    "standardised",
    "stochastic_depth",
    "table_for",
    "torch_kernel",
    "torch_uniform",
    "uniform_within",
    "with_prefix",
]
