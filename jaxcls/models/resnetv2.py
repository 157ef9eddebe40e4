"""Pre-activation residual networks: He et al. 2016, "Identity Mappings in Deep Residual Networks" (arXiv 1603.05027).

Norm and activation come before each convolution, so that nothing stands on the path of the shortcuts. Four kinds,
which differ in names and in what stands at both ends:

* `resnetv2_50` and so on: timm's for ImageNet, with a norm after the last block;
* `resnetv2_50x1_bit` and so on: those with GroupNorm and standardised kernels of Kolesnikov et al. 2019, "Big Transfer"
  (arXiv 1912.11370), with timm's names;
* `preact_resnet18` and so on: those of kuangliu/pytorch-cifar, for pictures of 32x32: a 3x3 stem, and no norm at the
  end, so the mean is taken of what the last block adds up;
* `preact_resnet110_cifar`, `preact_resnet164_cifar`: the narrow ones of the paper's table 2, of three stages, with
  kuangliu's names and, as in the paper, a norm `bn` at the end.

Bottlenecks stride in their 3x3 convolution (in the paper: the first 1x1).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

STEMS = ("imagenet", "bit", "cifar")
NORMS = ("batch", "group")


class PreActBlock(nn.Module):
    """(Norm, activation, convolution) for each of `kernels`, and a shortcut: `[b, h, w, *]` to
    `[b, h/stride, w/stride, out_features]`. Where it changes the shape the shortcut is a 1x1 projection of the first
    activation, else the input itself.

    `kernels` (3, 3): a basic block; (1, 3, 1): a bottleneck. The first 3x3 strides. `norm_name`, `shortcut_name`: what
    the reference calls them.
    """

    features: int  # of all convolutions but the last
    out_features: int
    kernels: tuple[int, ...]
    stride: int
    conv: Any
    norm: Any
    norm_name: str
    shortcut_name: str
    act: Any = nn.relu
    zero_init: bool = False  # the last convolution starts at zero, so the block starts as its shortcut
    inner_drop: Any = lambda y: y  # before the last convolution
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        strided = self.kernels.index(3)
        y, shortcut = x, x
        for i, kernel in enumerate(self.kernels):
            y = self.act(self.norm(name=f"{self.norm_name}{i + 1}")(y))
            if i == 0 and (self.stride > 1 or x.shape[-1] != self.out_features):
                shortcut = self.conv(self.out_features, 1, self.stride, name=self.shortcut_name)(y)
            last = i == len(self.kernels) - 1
            y = self.inner_drop(y) if last else y
            init = {"kernel_init": nn.initializers.zeros} if last and self.zero_init else {}
            y = self.conv(
                self.out_features if last else self.features,
                kernel,
                self.stride if i == strided else 1,
                name=f"conv{i + 1}",
                **init,
            )(y)
        return shortcut + self.drop(y)


SPELLINGS: dict[str, dict[str, Any]] = {  # block: with the numbers of the stage and of the block in it
    "timm": {
        "stem": "stem.conv",
        "block": lambda stage, i: f"stages.{stage}.blocks.{i}",
        "in_block": {"norm_name": "norm", "shortcut_name": "downsample.conv"},
        "norm": "norm",
        "head": "head.fc",
    },
    "kuangliu": {
        "stem": "conv1",
        "block": lambda stage, i: f"layer{stage + 1}.{i}",
        "in_block": {"norm_name": "bn", "shortcut_name": "shortcut.0"},
        "norm": "bn",
        "head": "linear",
    },
}


class ResNetV2(Classifier):
    """A stem, stages of blocks (each later stage halves the picture and doubles the features), norm, mean, dense.

    Fields:
      stage_sizes: the numbers of blocks. kernels: of a block (see there). width: features of the first stage, of which
        a bottleneck puts out four times as many.
      stem: "imagenet", a 7x7 convolution of stride 2 and a 3x3 max pool of stride 2; "bit", the same with zeros around
        what is pooled; or "cifar", a 3x3 convolution.
      norm: "batch", or "group", GroupNorm of 32 groups behind convolutions with standardised kernels.
      final_norm: norm and activation after the last block.
      spelling: whose names the parameters bear, "timm" or "kuangliu".
      kernel_init: of the convolutions. head_init: (kernel, bias) of the classifier.
      zero_init_last: blocks start as their shortcuts.

    `out`: `stem` is what the first stage sees; the last stage comes after the final norm. Raises UserError for an
    unknown `stem`, `norm` or `spelling`.
    """

    stage_sizes: tuple[int, ...]
    kernels: tuple[int, ...] = (1, 3, 1)
    width: int = 64
    stem: str = "imagenet"
    norm: str = "batch"
    final_norm: bool = True
    spelling: str = "timm"
    kernel_init: Any = layers.kaiming_normal
    head_init: tuple[Any, Any] = (layers.torch_kernel, None)
    zero_init_last: bool = False
    stochastic_depth: float = 0.0

    def __post_init__(self):
        layers.check_choice("stem", self.stem, STEMS)
        layers.check_choice("norm", self.norm, NORMS)
        layers.check_choice("spelling", self.spelling, SPELLINGS)
        super().__post_init__()

    @property
    def head(self) -> tuple[str, ...]:
        return (SPELLINGS[self.spelling]["head"],)

    def for_library(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """timm's last layer is a 1x1 convolution."""
        head = f"{self.head[0]}.weight"
        if self.spelling != "timm" or head not in state:
            return dict(state)
        return {**state, head: state[head][:, :, None, None]}

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        names = SPELLINGS[self.spelling]
        conv = partial(layers.conv, kernel_init=self.kernel_init, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        if self.norm == "group":
            conv = partial(conv, convolve=layers.standardised)
            norm = partial(nn.GroupNorm, num_groups=32, epsilon=self.epsilon, use_fast_variance=False, **self.dtypes)
        block = partial(
            self.rematerialised(PreActBlock),
            kernels=self.kernels,
            conv=conv,
            norm=norm,
            zero_init=self.zero_init_last,
            **names["in_block"],
        )
        rates = iter(layers.rising(self.stochastic_depth, sum(self.stage_sizes)))
        expansion = 4 if self.kernels == (1, 3, 1) else 1
        x = self._stem(conv, images)
        out = {"stem": x}
        for stage, size in enumerate(self.stage_sizes):
            features = self.width * 2**stage
            for i in range(size):
                drop = partial(layers.stochastic_depth, rate=next(rates), train=train)
                x = block(
                    features=features,
                    out_features=features * expansion,
                    drop=drop,
                    stride=2 if stage > 0 and i == 0 else 1,
                    name=names["block"](stage, i),
                )(x)
            if self.final_norm and stage == len(self.stage_sizes) - 1:
                x = nn.relu(norm(name=names["norm"])(x))
            out[f"stage{stage + 1}"] = x
        out["pre_logits"] = layers.global_mean(x)
        kernel_init, bias_init = self.head_init
        logits = self.classify(
            out["pre_logits"], names["head"], train=train, kernel_init=kernel_init, bias_init=bias_init
        )
        return logits, out

    def _stem(self, conv, images):
        name = SPELLINGS[self.spelling]["stem"]
        if self.stem == "cifar":
            return conv(self.width, 3, name=name)(images)
        x = conv(self.width, 7, 2, name=name)(images)
        if self.stem == "bit":
            return layers.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2)
        # No activation comes before this pool, so a border of zeros could win. One that repeats the edge cannot.
        if layers.is_plain():
            return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        return layers.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"), 3, 2)


_TIMM: dict[str, Any] = {"head_init": (nn.initializers.normal(0.01), nn.initializers.zeros)}
_CIFAR: dict[str, Any] = {"stem": "cifar", "spelling": "kuangliu"}
_KUANGLIU: dict[str, Any] = {**_CIFAR, "final_norm": False, "kernel_init": layers.torch_kernel}

register(partial(ResNetV2, stage_sizes=(3, 4, 6, 3), **_TIMM), "resnetv2_50")
register(partial(ResNetV2, stage_sizes=(3, 4, 23, 3), **_TIMM), "resnetv2_101")
register(partial(ResNetV2, stage_sizes=(3, 8, 36, 3), **_TIMM), "resnetv2_152")
for _name, _sizes in (("50x1", (3, 4, 6, 3)), ("101x1", (3, 4, 23, 3))):
    register(partial(ResNetV2, stage_sizes=_sizes, stem="bit", norm="group", **_TIMM), f"resnetv2_{_name}_bit")
register(partial(ResNetV2, stage_sizes=(2, 2, 2, 2), kernels=(3, 3), **_KUANGLIU), "preact_resnet18")
register(partial(ResNetV2, stage_sizes=(3, 4, 6, 3), kernels=(3, 3), **_KUANGLIU), "preact_resnet34")
register(partial(ResNetV2, stage_sizes=(3, 4, 6, 3), **_KUANGLIU), "preact_resnet50")
register(partial(ResNetV2, stage_sizes=(18,) * 3, kernels=(3, 3), width=16, **_CIFAR), "preact_resnet110_cifar")
register(partial(ResNetV2, stage_sizes=(18,) * 3, width=16, **_CIFAR), "preact_resnet164_cifar")
