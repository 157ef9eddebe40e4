"""A model of pictures applied to each frame of a clip, and the mean of its answers: what one frame at a time can tell.

`create("resnet18", neck="frames")`, the baseline of nets that see motion. (The networks that Karpathy et al. 2014,
"Large-scale Video Classification with Convolutional Neural Networks", and all after compare with are of this kind.)
"""

from typing import ClassVar

import jax
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Outputs
from jaxcls.models.neck import Neck


class Frames(Neck, kw_only=True):
    """A backbone with its own last layer, of the frames of clips `[n, t, h, w, c]` as of so many pictures; means.

    `logits` are the means over the frames; so is what `out` has of a frame without places (`pre_logits`), so where the
    last layer is one dense layer, the logits are those of the mean features. Feature maps are `[n, t, h, w, c]`.
    Raises UserError for a backbone that takes clips itself, and for pictures.
    """

    clips: ClassVar = True

    def __post_init__(self):
        if getattr(self.backbone, "clips", False):
            raise UserError(f"{type(self.backbone).__name__} takes clips itself: leave neck='frames' away")
        super().__post_init__()

    @property
    def head(self) -> tuple[str, ...]:
        return tuple(f"{self.prefix}{layer}" for layer in self.backbone.head)

    @property
    def unused(self) -> tuple[str, ...]:
        return self.backbone.unused

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_clips(images, type(self).__name__)
        clips = images.shape[:2]

        def together(x):
            x = x.reshape(*clips, *x.shape[1:])
            return x.mean(axis=1) if x.ndim == 3 else x

        return jax.tree.map(together, self.backbone(images.reshape(-1, *images.shape[2:]), train=train))
