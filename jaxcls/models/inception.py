"""Inception v3: Szegedy et al. 2015, "Rethinking the Inception Architecture" (arXiv 1512.00567), as in torchvision.

Made for 299x299. The published weights were trained on pictures scaled to [-1, 1]: use them with mean 0.5 and
deviation 0.5 (torchvision's `transform_input`, which undoes ImageNet's).
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

# torchvision truncates its normal distributions at two, twenty deviations away. Its 0.01 for the last convolution of
# the auxiliary classifier does not reach that layer: it is 0.1 there, too.
normal = nn.initializers.normal


# A block is (branches .., features behind the pool), a branch its steps one behind the other, a step the convolutions
# side by side in it, each (name, features, kernel).
Branch = tuple
Block = tuple


def alone(name: str, features: int, kernel: int) -> Branch:
    """A branch of one convolution."""
    return (((name, features, kernel),),)


def chain(name: str, *convs: tuple) -> Branch:
    """A branch of convolutions (features, kernel) one behind the other, named `name_1`, `name_2` .."""
    return tuple(((f"{name}_{i}", *conv),) for i, conv in enumerate(convs, 1))


def fork(name: str, features: int) -> Branch:
    """The end of a branch: a 1x3 and a 3x1 convolution side by side, named `name` with a and b."""
    return (((f"{name}a", features, (1, 3)), (f"{name}b", features, (3, 1))),)


def mixed_a(pooled: int) -> Block:
    """1x1; 1x1, 5x5; 1x1, 3x3, 3x3; average pool, 1x1. (In figure 5 two 3x3 stand for the 5x5, too.)"""
    double = chain("branch3x3dbl", (64, 1), (96, 3), (96, 3))
    return alone("branch1x1", 64, 1), chain("branch5x5", (48, 1), (64, 5)), double, pooled


def mixed_b() -> Block:
    """The reduction to 17x17: the last convolutions have stride 2, as has the max pool, without one behind it."""
    return alone("branch3x3", 384, 3), chain("branch3x3dbl", (64, 1), (96, 3), (96, 3)), 0


def mixed_c(c: int) -> Block:
    """Figure 6: 7x7 convolutions taken apart into 1x7 and 7x1, with `c` features between."""
    double = chain("branch7x7dbl", (c, 1), (c, (7, 1)), (c, (1, 7)), (c, (7, 1)), (192, (1, 7)))
    return alone("branch1x1", 192, 1), chain("branch7x7", (c, 1), (c, (1, 7)), (192, (7, 1))), double, 192


def mixed_d() -> Block:
    """The reduction to 8x8."""
    seven = chain("branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3))
    return chain("branch3x3", (192, 1), (320, 3)), seven, 0


def mixed_e() -> Block:
    """Figure 7: branches that end in a fork."""
    double = chain("branch3x3dbl", (448, 1), (384, 3)) + fork("branch3x3dbl_3", 384)
    return alone("branch1x1", 320, 1), chain("branch3x3", (384, 1)) + fork("branch3x3_2", 384), double, 192


# Table 1, from its first Inception row on.
STAGES = (
    (("5b", mixed_a(32)), ("5c", mixed_a(64)), ("5d", mixed_a(64))),
    (("6a", mixed_b()), ("6b", mixed_c(128)), ("6c", mixed_c(160)), ("6d", mixed_c(160)), ("6e", mixed_c(192))),
    (("7a", mixed_d()), ("7b", mixed_e()), ("7c", mixed_e())),
)


class Mixed(nn.Module):
    """Branches and a pool side by side. `pooled` features behind an average pool, or, with 0, a reduction to half."""

    branches: tuple
    pooled: int
    unit: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        outputs = []
        for branch in self.branches:
            y = x
            for i, convs in enumerate(branch, 1):
                halve = {"stride": 2, "padding": 0} if not self.pooled and i == len(branch) else {}
                ends = [self.unit(features, kernel, name=name, **halve)(y) for name, features, kernel in convs]
                y = jnp.concatenate(ends, axis=-1)
            outputs.append(y)
        if self.pooled:
            outputs.append(self.unit(self.pooled, 1, name="branch_pool")(layers.avg_pool(x, 3, 1, padding=1)))
        else:
            outputs.append(layers.max_pool(x, 3, 2))
        return jnp.concatenate(outputs, axis=-1)


class Auxiliary(nn.Module):
    """A classifier of the 17x17 features (figure 8): average pool, 1x1 and 5x5 convolution, mean, dense."""

    num_classes: int
    param_dtype: Any
    unit: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if min(x.shape[1:3]) < 17:
            raise UserError("Inception v3 with aux_logits takes pictures of 299x299 or larger: switch aux_logits off")
        x = self.unit(128, 1, name="conv0")(layers.avg_pool(x, 5, 3))
        x = layers.global_mean(self.unit(768, 5, padding=0, name="conv1")(x))
        return layers.logits_layer(
            x, self.num_classes, param_dtype=self.param_dtype, kernel_init=normal(0.001), name="fc"
        )


class InceptionV3(Classifier, kw_only=True):
    """A stem of five convolutions and two max pools, eleven Inception blocks, mean, dense.

    Pictures of 75x75 or larger, UserError for smaller ones. `out`: `stem` is the first pool, `stage1` the stem's last
    convolution, of stride 4; `stage2` to `stage4` end the blocks 5, 6 and 7, of strides 8 to 32 (35x35, 17x17 and 8x8
    of 299x299).

    `aux_logits` adds the auxiliary classifier of section 4. Its parameters exist in any mode; in training
    `out["aux_logits"]` is a tuple of its logits, float32 `[b, num_classes]` (the usual weight of its loss is 0.4), and
    pictures must be 299x299 or larger. Without classes there is none.
    """

    aux_logits: bool = False
    stages: tuple = STAGES
    dropout: float = 0.5
    epsilon: ClassVar = 1e-3
    head: ClassVar = ("fc", "AuxLogits.fc")
    unused: ClassVar = (r"AuxLogits\.",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_size(images, 75, "Inception v3")
        conv = partial(layers.conv, kernel_init=normal(0.1), **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, epsilon=self.epsilon, **self.dtypes)
        unit = partial(layers.BasicConv, conv=conv, norm=norm)
        mixed = self.rematerialised(Mixed)
        x = unit(32, 3, 2, padding=0, name="Conv2d_1a_3x3")(images)
        x = unit(32, 3, padding=0, name="Conv2d_2a_3x3")(x)
        x = layers.max_pool(unit(64, 3, name="Conv2d_2b_3x3")(x), 3, 2)
        out: dict[str, Any] = {"stem": x}
        x = unit(192, 3, padding=0, name="Conv2d_4a_3x3")(unit(80, 1, name="Conv2d_3b_1x1")(x))
        out["stage1"] = x
        x = layers.max_pool(x, 3, 2)
        for i, blocks in enumerate(self.stages, 2):
            for name, (*branches, pooled) in blocks:
                x = mixed(tuple(branches), pooled, unit, name=f"Mixed_{name}")(x)
            out[f"stage{i}"] = x
        if self.aux_logits and self.num_classes and (train or self.is_initializing()):
            aux = Auxiliary(self.num_classes, self.param_dtype, unit, name="AuxLogits")(out["stage3"])
            out |= {"aux_logits": (aux,)} if train else {}
        out["pre_logits"] = layers.global_mean(x)
        return self.classify(out["pre_logits"], "fc", train=train, kernel_init=normal(0.1)), out


register(InceptionV3, "inception_v3")
