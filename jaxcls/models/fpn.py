"""A feature pyramid in front of the classifier: Lin et al. 2016 (arXiv 1612.03144), section 3.

`create("resnet50", neck="fpn")`. The paper detects objects with it; here every level of the pyramid is averaged, so the
classifier sees fine features and coarse ones.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Outputs
from jaxcls.models.neck import Neck

# torchvision's FeaturePyramidNetwork, whose names the convolutions bear.
_init = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")

LEVELS = 4


class FPN(Neck, kw_only=True):
    """A backbone, lateral 1x1 convolutions, a path from coarse to fine, 3x3 convolutions, means side by side, dense.

    Fields:
      backbone: built with `num_classes=0`.
      features: of each level of the pyramid.

    The last stage of each of the `LEVELS` coarsest resolutions feeds a level: strides 4 to 32 for most nets. The path
    down repeats pixels (nearest neighbour) to the size of the finer level, whatever the ratio. Each level passes a
    ReLU before its mean: the paper has none, but its heads do, and without one mean and classifier would undo the
    pyramid, since all is linear from the stages on. The means are concatenated, not averaged, so each level keeps
    weights of its own: `pre_logits` is `[b, levels * features]`.

    `out` holds the backbone's `stem` and `stage1` .., and `level1` .. of the pyramid before the ReLU, finest first.
    Raises UserError when it is called (`init` included) on a backbone without feature maps of two resolutions.
    """

    features: int = 256
    head: ClassVar = ("fc",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        _, out = self.backbone(images, train=train)
        stages = pyramid_stages(out)
        if len(stages) < 2:
            raise UserError(
                f"neck 'fpn' needs a model whose stages are feature maps of two sizes or more, which "
                f"{type(self.backbone).__name__} has not for pictures of {images.shape[1]}x{images.shape[2]}: use "
                "larger pictures or a convolutional model such as resnet50, mobilenet_v2 or vgg16"
            )
        levels: list[Array] = []
        above = None
        for i in reversed(range(len(stages))):
            x = self.conv(1, f"fpn.inner_blocks.{i}.0")(stages[i])
            above = x if above is None else x + repeat_pixels(above, x.shape[1:3])
            levels.insert(0, self.conv(3, f"fpn.layer_blocks.{i}.0")(above))
        out |= {f"level{i}": level for i, level in enumerate(levels, 1)}
        means = [layers.global_mean(nn.relu(level)) for level in levels]
        out["pre_logits"] = jnp.concatenate(means, axis=-1)
        return self.classify(out["pre_logits"], "fc", train=train), out

    def conv(self, size: int, name: str) -> nn.Conv:
        return layers.conv(self.features, size, use_bias=True, kernel_init=_init, name=name, **self.dtypes)


def pyramid_stages(out: dict[str, Any]) -> list[Array]:
    """The last stage of each of the coarsest resolutions, from fine to coarse; [] where a stage is no feature map."""
    stages = [out[f"stage{i}"] for i in range(1, sum(key.startswith("stage") for key in out) + 1)]
    if any(stage.ndim != 4 for stage in stages):
        return []
    return list({stage.shape[1:3]: stage for stage in stages}.values())[-LEVELS:]


def repeat_pixels(x: Array, size: tuple[int, ...]) -> Array:
    """`[b, h, w, c]` enlarged to a (height, width) by repeating pixels, those that PyTorch's "nearest" takes."""
    return layers.named("repeat_pixels", _repeat_pixels, x, height=size[0], width=size[1])


def _repeat_pixels(x, *, height, width):
    for axis, new in enumerate((height, width), 1):
        old = x.shape[axis]
        if new in (2 * old - 1, 2 * old):  # the usual case, without a gather
            x = lax.slice_in_dim(jnp.repeat(x, 2, axis), 0, new, axis=axis)
        else:
            x = jnp.take(x, np.arange(new) * old // new, axis, mode="clip")
    return x
