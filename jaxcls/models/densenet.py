"""DenseNet: Huang et al. 2016, "Densely Connected Convolutional Networks" (arXiv 1608.06993), table 1, DenseNet-BC.

As torchvision builds them. Each layer sees the outputs of all layers before it in its block, side by side, and adds
`growth_rate` features. `stem="cifar"`, for pictures of 32x32: a 3x3 convolution of stride 1 and no pool (the paper's
own nets for CIFAR have three narrower blocks, too).

`attention`: no published weights exist. The code bases that have SE- or CBAM-DenseNets (titu1994's
keras-squeeze-excite-network, kobiso's CBAM-keras, ygean's SE_DenseNet) agree on the places, which are ours: behind each
dense block and behind each transition. The attention blocks are timm's, as in our ResNets; theirs differ from these,
and from one another, in biases and by squeezing to c // 16 or c // 8 features.
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

STEMS = ("imagenet", "cifar")

# PyTorch's kaiming_normal_ unless told otherwise (ResNet's keeps the backward signal instead).
kernel_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution: new features `[b, h, w, growth_rate]`.

    It takes the features before it as separate arrays: with `remat` their concatenation is not kept, so memory grows
    with the number of layers and not with its square (Pleiss et al. 2017, arXiv 1707.06990).
    """

    growth_rate: int
    squeezed: int  # features between the two convolutions
    conv: Any
    norm: Any
    act: Any = nn.relu
    drop: Any = lambda y: y

    @nn.compact
    def __call__(self, *features: Array) -> Array:
        x = jnp.concatenate(features, axis=-1)
        y = self.conv(self.squeezed, 1, name="conv1")(self.act(self.norm(name="norm1")(x)))
        y = self.conv(self.growth_rate, 3, name="conv2")(self.act(self.norm(name="norm2")(y)))
        return self.drop(y)


class Transition(nn.Module):
    """Norm, ReLU, 1x1 convolution to half the features, mean over 2x2."""

    conv: Any
    norm: Any
    act: Any = nn.relu

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = self.conv(x.shape[-1] // 2, 1, name="conv")(self.act(self.norm(name="norm")(x)))
        return layers.avg_pool(y, 2)


class DenseNet(Classifier):
    """A stem, dense blocks with transitions between them, norm, ReLU, mean, dense.

    Fields: `block_config`, layers of each block; `bn_size`, features between a layer's convolutions in units of
    `growth_rate`; `drop_rate`, dropout behind each dense layer; `attention`, "se", "eca" or "cbam" (see above).
    `out`: `stem` is what the first block sees, a stage is what a block gives, the last one behind norm and ReLU.
    Raises UserError for a value that a field cannot have and for pictures that the transitions would halve to nothing.
    """

    growth_rate: int = 32
    block_config: tuple[int, ...] = (6, 12, 24, 16)
    num_init_features: int = 64
    bn_size: int = 4
    drop_rate: float = 0.0
    stem: str = "imagenet"
    attention: str = ""
    head: ClassVar = ("classifier",)
    renames: ClassVar = ((r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2"),)  # torchvision's files

    def __post_init__(self):
        layers.check_choice("stem", self.stem, STEMS)
        layers.check_attention(self.attention)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_size(images, self.least, "this DenseNet")
        conv = partial(layers.conv, kernel_init=kernel_init, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        attention = partial(layers.attention, kind=self.attention, conv=conv, norm=norm, **self.dtypes)
        layer = partial(
            self.rematerialised(DenseLayer),
            self.growth_rate,
            self.bn_size * self.growth_rate,
            conv,
            norm,
            drop=partial(layers.dropout, rate=self.drop_rate, train=train),
        )
        kernel, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = conv(self.num_init_features, kernel, stride, name="features.conv0")(images)
        x = nn.relu(norm(name="features.norm0")(x))
        if self.stem == "imagenet":
            x = layers.max_pool(x, 3, 2, padding=1)
        out = {"stem": x}
        for i, size in enumerate(self.block_config, 1):
            if i > 1:
                x = Transition(conv, norm, name=f"features.transition{i - 1}")(x)
                x = attention(x, name=f"features.transition{i - 1}_se")
            features = [x]
            for j in range(1, size + 1):
                features.append(layer(name=f"features.denseblock{i}.denselayer{j}")(*features))
            x = attention(jnp.concatenate(features, axis=-1), name=f"features.denseblock{i}_se")
            if i == len(self.block_config):
                x = nn.relu(norm(name="features.norm5")(x))
            out[f"stage{i}"] = x
        out["pre_logits"] = layers.global_mean(x)
        return self.classify(out["pre_logits"], "classifier", train=train, bias_init=nn.initializers.zeros), out

    @property
    def least(self) -> int:
        """The smallest side of a picture: transitions halve, rounding down, the stem for ImageNet twice, up."""
        side = 2 ** (len(self.block_config) - 1)
        return 4 * (side - 1) + 1 if self.stem == "imagenet" else side


register(DenseNet, "densenet121")
register(partial(DenseNet, growth_rate=48, block_config=(6, 12, 36, 24), num_init_features=96), "densenet161")
register(partial(DenseNet, block_config=(6, 12, 32, 32)), "densenet169")
register(partial(DenseNet, block_config=(6, 12, 48, 32)), "densenet201")
