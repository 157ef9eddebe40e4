"""A classifier that sees directions alone: features are divided by their length before the last layer.

`create("vit_base_patch32_clip_224", neck="cosine(512)")`. Pairs of towers (Radford et al. 2021, arXiv 2103.00020,
section 2.3) compare so: with the features of class names as the kernel the net classifies without a picture having been
learned (`jaxcls zeroshot`).
"""

import re
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcls.models.base import Classifier, Outputs

SMALLEST = 1e-12  # of squared lengths


class Cosine(Classifier, kw_only=True):
    """A backbone, its features at length 1, dense.

    Fields:
      backbone: a model whose answer is the features; its parameters are those of the module "backbone".
      projects: the backbone's own last layer makes them; else they are its `pre_logits`.

    `out` is the backbone's, but for `pre_logits`: the features at length 1.
    """

    backbone: Any
    projects: bool = False
    head: ClassVar = ("classifier",)
    prefix: ClassVar[str] = "backbone."  # of the backbone's names; published weights lack it

    @property
    def unused(self) -> tuple[str, ...]:
        layers = () if self.projects else self.backbone.head
        return (*self.backbone.unused, *(f"^{re.escape(layer)}\\." for layer in layers))

    @property
    def renames(self) -> tuple[tuple[str, str], ...]:
        return self.backbone.renames

    @property
    def resized(self) -> dict[str, Callable]:
        return self.backbone.resized

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
