"""Deep pyramidal residual networks: Han et al. 2016 (arXiv 1610.02915), additive: every block is a little wider.

From the stem's width the features grow in even steps by `alpha` in all (equation 2). Blocks have a norm before each
convolution and one at the end, but no activation before the first convolution (figure 6d); shortcuts have
no parameters. Names and initialisation are those of dyhan0920/PyramidNet-PyTorch, by the authors.
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

STEMS = {"cifar": 16, "imagenet": 64}  # and their features
BASIC, BOTTLENECK = (3, 3), (1, 3, 1)


class PyramidBlock(nn.Module):
    """Convolutions of the sizes `kernels`, the first 3x3 one with the stride, and a shortcut: `[b, h, w, *]` to
    `[b, h/stride, w/stride, out_features]`. The shortcut averages squares of stride x stride and adds zeros behind the
    channels.
    """

    features: int  # of all convolutions but the last
    out_features: int
    kernels: tuple[int, ...]
    stride: int
    conv: Any
    norm: Any
    act: Any = nn.relu
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = self.norm(name="bn1")(x)
        for i, kernel in enumerate(self.kernels, 1):
            y = self.act(y) if i > 1 else y
            features = self.out_features if i == len(self.kernels) else self.features
            stride = self.stride if i - 1 == self.kernels.index(3) else 1
            y = self.conv(features, kernel, stride, name=f"conv{i}")(y)
            y = self.norm(name=f"bn{i + 1}")(y)
        if self.stride > 1:
            x = layers.avg_pool(x, self.stride, ceil=True)
        return self.drop(y) + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.out_features - x.shape[-1])))


class PyramidNet(Classifier):
    """A stem, stages of blocks (each later stage halves the picture), norm, mean, dense.

    Fields:
      stage_sizes: the numbers of blocks. alpha: by how many features the last block is wider than the stem (times four,
        where a bottleneck puts out four times its features). kernels: of a block.
      stem: "cifar", a 3x3 convolution and a norm, or "imagenet", 7x7 of stride 2, norm, activation and max pool.
      stochastic_depth: of the last block, rising linearly.

    `out`: `stem` is what the first stage sees; the last stage comes after the final norm. Raises UserError for another
    stem or a negative alpha.
    """

    stage_sizes: tuple[int, ...]
    alpha: int
    kernels: tuple[int, ...] = BASIC
    stem: str = "cifar"
    stochastic_depth: float = 0.0
    head: ClassVar = ("fc",)

    def __post_init__(self):
        layers.check_choice("stem", self.stem, STEMS)
        if self.alpha < 0:
            raise UserError(f"alpha, the features that the blocks add, must not be negative: {self.alpha}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        block = partial(self.rematerialised(PyramidBlock), kernels=self.kernels, conv=conv, norm=norm)
        count = sum(self.stage_sizes)
        features = iter(round(STEMS[self.stem] + self.alpha * (i + 1) / count) for i in range(count))
        rates = iter(layers.rising(self.stochastic_depth, count))
        x = self._stem(conv, norm, images)
        out = {"stem": x}
        for i, size in enumerate(self.stage_sizes, 1):
            for j in range(size):
                width = next(features)
                drop = partial(layers.stochastic_depth, rate=next(rates), train=train)
                x = block(
                    features=width,
                    out_features=width * (4 if self.kernels == BOTTLENECK else 1),
                    stride=2 if i > 1 and j == 0 else 1,
                    drop=drop,
                    name=f"layer{i}.{j}",
                )(x)
            if i == len(self.stage_sizes):
                x = nn.relu(norm(name="bn_final")(x))
            out[f"stage{i}"] = x
        out["pre_logits"] = layers.global_mean(x)
        return self.classify(out["pre_logits"], "fc", train=train), out

    def _stem(self, conv, norm, images):
        kernel, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = norm(name="bn1")(conv(STEMS[self.stem], kernel, stride, name="conv1")(images))
        return layers.max_pool(nn.relu(x), 3, 2, padding=1) if self.stem == "imagenet" else x


for _alpha in (48, 84, 270):
    register(partial(PyramidNet, stage_sizes=(18, 18, 18), alpha=_alpha), f"pyramidnet110_a{_alpha}_cifar")
register(partial(PyramidNet, stage_sizes=(30, 30, 30), alpha=200, kernels=BOTTLENECK), "pyramidnet272_a200_cifar")
register(
    partial(PyramidNet, stage_sizes=(3, 4, 23, 3), alpha=360, kernels=BOTTLENECK, stem="imagenet"), "pyramidnet101_a360"
)
