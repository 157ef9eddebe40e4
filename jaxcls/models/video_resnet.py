"""Residual networks of clips: Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions" (arXiv 1711.11248).

Section 3 and table 1, as torchvision builds them, with 18 layers: R3D, whose convolutions go over time, height and
width; MC3, with such ones in the first stage and none over time behind it; R(2+1)D, each convolution one of frames and
one over time, with so many features between them that it has as many parameters as the 3-D one.
"""

from functools import partial
from typing import Any, ClassVar

from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

KINDS = ("3d", "2d", "2+1d")  # of a convolution: over time and places, over places, over one and then the other


class ClipBlock(nn.Module):
    """Two convolutions of a kind and a shortcut: `[n, t, h, w, *]` to `[n, t', h/stride, w/stride, features]`.

    Time gets the stride too, but for the kind "2d".
    """

    features: int
    stride: int
    kind: str
    conv: Any
    norm: Any
    act: Any = nn.relu

    @nn.compact
    def __call__(self, x: Array) -> Array:
        # The same for both convolutions, though the second one has other inputs: torchvision's.
        between = 27 * x.shape[-1] * self.features // (9 * x.shape[-1] + 3 * self.features)
        y = self.act(self.norm(name="conv1.1")(self.convolve(x, between, self.stride, "conv1.0")))
        y = self.norm(name="conv2.1")(self.convolve(y, between, 1, "conv2.0"))
        if self.stride > 1 or x.shape[-1] != self.features:
            stride = (1 if self.kind == "2d" else self.stride, self.stride, self.stride)
            x = self.conv(self.features, (1, 1, 1), stride, name="downsample.0")(x)
            x = self.norm(name="downsample.1")(x)
        return self.act(y + x)

    def convolve(self, x: Array, between: int, stride: int, name: str) -> Array:
        """A convolution of the block's kind, of three taps along each axis."""
        if self.kind == "3d":
            return self.conv(self.features, (3, 3, 3), (stride, stride, stride), name=name)(x)
        if self.kind == "2d":
            return self.conv(self.features, (1, 3, 3), (1, stride, stride), name=name)(x)
        x = self.conv(between, (1, 3, 3), (1, stride, stride), name=f"{name}.0")(x)
        x = self.act(self.norm(name=f"{name}.1")(x))
        return self.conv(self.features, (3, 1, 1), (stride, 1, 1), name=f"{name}.3")(x)


class VideoResNet(Classifier, kw_only=True):
    """A stem that halves height and width, stages of blocks (later ones halve and double), mean, dense.

    Fields:
      stage_sizes: blocks of each stage.
      kinds: of the convolutions of each stage, of `KINDS`.
      stem: of a convolution of 7x7, "3d" or "2+1d".
      width: features of the first stage.

    Takes clips `[n, t, h, w, c]` of any length and size. `out`: `stem` is what the first stage sees. Raises UserError
    for a value that a field cannot have, and for pictures.
    """

    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    kinds: tuple[str, ...] = ("3d", "3d", "3d", "3d")
    stem: str = "3d"
    width: int = 64
    clips: ClassVar = True
    head: ClassVar = ("fc",)

    def __post_init__(self):
        layers.check_choice("stem", self.stem, ("3d", "2+1d"))
        layers.check_positive("width", self.width)
        for kind in self.kinds:
            layers.check_choice("kinds", kind, KINDS)
        if len(self.kinds) < len(self.stage_sizes):
            stages, kinds = len(self.stage_sizes), len(self.kinds)
            raise UserError(f"stage_sizes has {stages} stages, kinds {kinds}: give each stage a kind")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_clips(images, type(self).__name__)
        conv = partial(layers.conv, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        x = self.stem_features(images, conv, norm)
        out = {"stem": x}
        block = partial(self.rematerialised(ClipBlock), conv=conv, norm=norm)
        for i, (size, kind) in enumerate(zip(self.stage_sizes, self.kinds, strict=False)):
            for j in range(size):
                stride = 2 if i > 0 and j == 0 else 1
                x = block(self.width * 2**i, stride, kind, name=f"layer{i + 1}.{j}")(x)
            out[f"stage{i + 1}"] = x
        out["pre_logits"] = layers.global_mean(x)
        init = nn.initializers.normal(0.01)
        zeros = nn.initializers.zeros
        return self.classify(out["pre_logits"], "fc", train=train, kernel_init=init, bias_init=zeros), out

    def stem_features(self, images: Array, conv: Any, norm: Any) -> Array:
        """What the first stage sees."""
        if self.stem == "3d":
            return nn.relu(norm(name="stem.1")(conv(self.width, (3, 7, 7), (1, 2, 2), name="stem.0")(images)))
        between = 45 * self.width // 64
        x = nn.relu(norm(name="stem.1")(conv(between, (1, 7, 7), (1, 2, 2), name="stem.0")(images)))
        return nn.relu(norm(name="stem.4")(conv(self.width, (3, 1, 1), name="stem.3")(x)))


register(VideoResNet, "r3d_18")
register(partial(VideoResNet, kinds=("3d", "2d", "2d", "2d")), "mc3_18")
register(partial(VideoResNet, kinds=("2+1d", "2+1d", "2+1d", "2+1d"), stem="2+1d"), "r2plus1d_18")
