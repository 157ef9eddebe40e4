"""A classifier that sees directions alone: features are divided by their length before the last layer.

`create("vit_base_patch32_clip_224", neck="cosine(512)")`. Pairs of towers (Radford et al. 2021, arXiv 2103.00020,
section 2.3) compare so: with the features of class names as the kernel the net classifies without a picture having been
learned (`jaxcls zeroshot`).
"""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcls.models.base import Outputs
from jaxcls.models.neck import Neck

SMALLEST = 1e-12  # of squared lengths


class Cosine(Neck, kw_only=True):
    """A backbone, its features at length 1, dense.

    Fields:
      backbone: whose answer is the features.
      projects: the backbone's own last layer makes them; else they are its `pre_logits`.

    `out` is the backbone's, but for `pre_logits`: the features at length 1.
    """

    projects: bool = False
    head: ClassVar = ("classifier",)

    @property
    def unused(self) -> tuple[str, ...]:
        return self.backbone.unused if self.projects else super().unused

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        features, out = self.backbone(images, train=train)
        out["pre_logits"] = unit(features)
        init = nn.initializers.normal(1.0)  # of directions: logits of about 1
        return self.classify(
            out["pre_logits"], "classifier", train=train, kernel_init=init, bias_init=nn.initializers.zeros
        ), out


def unit(x: Array) -> Array:
    """float32 rows `[n, c]` at length 1; rows of zeros stay so."""
    x = x.astype(jnp.float32)
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), SMALLEST))
