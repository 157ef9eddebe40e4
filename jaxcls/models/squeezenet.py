"""SqueezeNet: Iandola et al. 2016 (arXiv 1602.07360), table 1, and its lighter version 1.1, as in torchvision."""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

he_uniform = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then a 1x1 and a 3x3 side by side: to `[b, h, w, 2 * expanded]`."""

    squeezed: int
    expanded: int
    conv: Any
    act: Any = nn.relu

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = self.act(self.conv(self.squeezed, 1, name="squeeze")(x))
        one = self.act(self.conv(self.expanded, 1, name="expand1x1")(x))
        three = self.act(self.conv(self.expanded, 3, name="expand3x3")(x))
        return jnp.concatenate([one, three], axis=-1)


class SqueezeNet(Classifier, kw_only=True):
    """An unpadded convolution of stride 2, fire modules with max pools between the stages, a 1x1 convolution, mean.

    `stages` lists (squeezed, expanded) of each fire module. The classifier is a convolution of the last stage, whose
    outputs pass a ReLU before the mean: no logit is negative. `pre_logits` is the mean of the last stage, from which
    the logits do not follow. `out`: `stem` and `stage1` have stride 4, each later stage twice that of the one before.
    Pictures of `least` pixels a side or more, UserError for smaller ones.
    """

    features: int
    kernel_size: int
    least: int
    stages: tuple[tuple[tuple[int, int], ...], ...]
    dropout: float = 0.5
    head: ClassVar = ("classifier.1",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_size(images, self.least, "SqueezeNet")
        conv = partial(layers.conv, use_bias=True, kernel_init=he_uniform, **self.dtypes)
        fire = self.rematerialised(Fire)
        x = nn.relu(conv(self.features, self.kernel_size, 2, padding=0, name="features.0")(images))
        out: dict[str, Array] = {}
        index = 2
        for i, stage in enumerate(self.stages, 1):
            x = layers.max_pool(x, 3, 2, ceil=True)
            out.setdefault("stem", x)
            for j, (squeezed, expanded) in enumerate(stage, index + 1):
                x = fire(squeezed, expanded, conv, name=f"features.{j}")(x)
            index += len(stage) + 1  # the pool, which has no parameters, has a number of its own
            out[f"stage{i}"] = x
        out["pre_logits"] = layers.global_mean(x)
        if not self.num_classes:
            return out["pre_logits"], out
        x = layers.dropout(x.astype(jnp.float32), self.dropout, train=train)
        last = layers.conv(
            self.num_classes,
            1,
            use_bias=True,
            kernel_init=nn.initializers.normal(0.01),
            dtype=jnp.float32,
            param_dtype=self.param_dtype,
            name="classifier.1",
        )
        return layers.global_mean(nn.relu(last(x))), out


_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_SPLIT_1_0 = (_FIRES[:3], _FIRES[3:7], _FIRES[7:])
_SPLIT_1_1 = (_FIRES[:2], _FIRES[2:4], _FIRES[4:])
register(partial(SqueezeNet, features=96, kernel_size=7, least=21, stages=_SPLIT_1_0), "squeezenet1_0")
register(partial(SqueezeNet, features=64, kernel_size=3, least=17, stages=_SPLIT_1_1), "squeezenet1_1")
