"""The small fast net for CIFAR of the speed records: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds" (arXiv 2404.00498).

Section 3: a 2x2 convolution whose kernel whitens the pictures' patches and stays as it is (`config.model.whiten`),
three blocks of two 3x3 convolutions with BatchNorm and GELU, a max pool over what is left, a dense layer without a
bias, and logits times 1/9. Other than in the paper the bias of the first convolution is trained to the end.
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

WINDOW = 2  # of the first convolution


def identity_first(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Section 3.3: the first filters of `[h, w, c, features]` hand their channel on; the others start as PyTorch's."""
    kernel = layers.torch_kernel(key, shape, dtype)
    height, width, channels, features = shape
    n = min(channels, features)
    each = jnp.arange(n)
    dirac = jnp.zeros((height, width, channels, n), dtype).at[height // 2, width // 2, each, each].set(1)
    return jnp.concatenate([dirac, kernel[..., n:]], axis=-1)


class Block(nn.Module):
    """Convolution, 2x2 max pool, norm, GELU, convolution, norm, GELU: `[b, h, w, *]` to `[b, h/2, w/2, features]`."""

    features: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = layers.max_pool(self.conv(self.features, 3, name="conv1")(x), 2)
        x = layers.gelu(self.norm(name="norm1")(x))
        x = self.conv(self.features, 3, name="conv2")(x)
        return layers.gelu(self.norm(name="norm2")(x))


class Airbench(Classifier):
    """The net for pictures of about 32x32 (16 and more). `widths`: features of the blocks; `scale`: of the logits.

    `out`: `stem` is the whitened picture after its GELU. BatchNorm learns no scale. Raises UserError where a picture
    is smaller.
    """

    widths: tuple[int, int, int] = (64, 256, 256)
    scale: float = 1 / 9
    epsilon: ClassVar = 1e-12
    head: ClassVar = ("head",)
    whitened: ClassVar = "whiten"  # the convolution that config.model.whiten fills

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        if min(images.shape[1:3]) < 16:
            raise UserError(f"airbench halves pictures four times: 16x16 or larger, not {images.shape[1:3]}")
        conv = partial(layers.conv, kernel_init=identity_first, **self.dtypes)
        norm = partial(
            layers.batch_norm(train=train, axis_name=self.axis_name, epsilon=self.epsilon, momentum=0.4, **self.dtypes),
            use_scale=False,
        )
        features = 2 * WINDOW**2 * images.shape[-1]
        x = layers.conv(features, WINDOW, padding=0, use_bias=True, name="whiten", **self.dtypes)(images)
        out = {"stem": layers.gelu(x)}
        x, block = out["stem"], self.rematerialised(Block)
        for i, width in enumerate(self.widths, 1):
            out[f"stage{i}"] = x = block(width, conv, norm, name=f"block{i}")(x)
        out["pre_logits"] = layers.global_max(x).astype(jnp.float32)
        if not self.num_classes:
            return out["pre_logits"], out
        x = layers.dropout(out["pre_logits"], self.dropout, train=train)
        return layers.logits_layer(
            x, self.num_classes, use_bias=False, param_dtype=self.param_dtype, name="head"
        ) * self.scale, out


register(Airbench, "airbench94")
