"""S3D, Inception of clips: Xie et al. 2018, "Rethinking Spatiotemporal Feature Learning" (arXiv 1712.04851).

Section 3.3 and figure 5, without the gates of S3D-G, as torchvision builds it: GoogLeNet's blocks, each 3x3 convolution
followed by one of three taps over time.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

# Of a block: features of the 1x1, before and after one pair of convolutions, of another, behind the pool.
_STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
_POOLS = ((3, 1), (2, 0))  # window and padding in front of the second and the third stage
WINDOW = (2, 7, 7)  # of the mean


class SeparableInception(nn.Module):
    """Four branches side by side: `[n, t, h, w, *]` to the same with as many features as they have together."""

    widths: tuple[int, ...]
    conv: Any  # (x, features, window, stride, name) -> a convolution, its norm and a ReLU

    @nn.compact
    def __call__(self, x: Array) -> Array:
        first, between1, second, between2, third, fourth = self.widths
        branches = [self.conv(x, first, (1, 1, 1), 1, "branch0")]
        for name, between, features in (("branch1", between1, second), ("branch2", between2, third)):
            y = self.conv(x, between, (1, 1, 1), 1, f"{name}.0")
            branches.append(separable(self.conv, y, features, 3, 1, f"{name}.1"))
        y = layers.max_pool_clips(x, (3, 3), (1, 1), (1, 1))
        branches.append(self.conv(y, fourth, (1, 1, 1), 1, "branch3.1"))
        return jnp.concatenate(branches, axis=-1)


def separable(conv: Any, x: Array, features: int, size: int, stride: int, name: str) -> Array:
    """A convolution over places, then one over time, each with its norm and a ReLU."""
    x = conv(x, features, (1, size, size), (1, stride, stride), f"{name}.0")
    return conv(x, features, (size, 1, 1), (stride, 1, 1), f"{name}.1")


class S3D(Classifier, kw_only=True):
    """A stem of two separable convolutions, stages of inception blocks with max pools between, mean, dense.

    Fields: `features` of the stem's two convolutions, at first and at last; `stages`, the `widths` of their blocks.
    `out`: `stem` is what the first stage sees, an eighth of the picture and half of the frames.

    The mean is that of means over `WINDOW`, so of larger clips than 16x224x224 the border counts less; smaller ones,
    which torchvision refuses, have a plain mean. Raises UserError for pictures.
    """

    features: tuple[int, int] = (64, 192)
    stages: tuple[tuple[tuple[int, ...], ...], ...] = _STAGES
    dropout: float = 0.2
    clips: ClassVar = True
    head: ClassVar = ("classifier.1",)

    @property
    def epsilon(self) -> float:
        return 1e-3

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_clips(images, type(self).__name__)
        norm = layers.batch_norm(
            train=train, axis_name=self.axis_name, epsilon=self.epsilon, momentum=0.999, **self.dtypes
        )
        conv = partial(_conv, conv=partial(layers.conv, kernel_init=layers.torch_kernel, **self.dtypes), norm=norm)
        half = partial(layers.max_pool_clips, window=(1, 3), stride=(1, 2), padding=(0, 1))
        x = half(separable(conv, images, self.features[0], 7, 2, "features.0"))
        x = conv(x, self.features[0], (1, 1, 1), 1, "features.2")
        x = half(separable(conv, x, self.features[1], 3, 1, "features.3"))
        out, index = {"stem": x}, 5
        for i, stage in enumerate(self.stages, 1):
            if i > 1:
                window, padding = _POOLS[min(i, 3) - 2]
                x = layers.max_pool_clips(x, (window, window), (2, 2), (padding, padding))
                index += 1
            for widths in stage:
                x = self.rematerialised(SeparableInception)(widths, conv, name=f"features.{index}")(x)
                index += 1
            out[f"stage{i}"] = x
        out["pre_logits"] = mean_of_windows(x)
        return self.classify(out["pre_logits"], "classifier.1", train=train), out

    def for_library(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """torchvision's last layer is a 1x1x1 convolution."""
        head = "classifier.1.weight"
        return {**state, head: state[head][:, :, None, None, None]} if head in state else dict(state)


def _conv(x, features, window, stride, name, *, conv, norm):
    return nn.relu(norm(name=f"{name}.1")(conv(features, window, stride, name=f"{name}.0")(x)))


def mean_of_windows(x: Array) -> Array:
    """The mean of the means over all windows of clips `[n, t, h, w, c]`: float32 `[n, c]`."""
    shares = [_shares(size, min(size, window)) for size, window in zip(x.shape[1:4], WINDOW, strict=True)]
    if all(np.ptp(share) == 0 for share in shares):
        return layers.global_mean(x)
    weights = shares[0][:, None, None, None] * shares[1][:, None, None] * shares[2][:, None]
    return jnp.sum(x.astype(jnp.float32) * weights, axis=(1, 2, 3))


def _shares(size, window):
    """Of each place along an axis in the mean of means, together 1."""
    counts = np.convolve(np.ones(size - window + 1), np.ones(window))
    return (counts / counts.sum()).astype(np.float32)


register(S3D, "s3d")
