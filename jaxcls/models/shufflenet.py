"""ShuffleNet V2: Ma et al. 2018 (arXiv 1807.11164), table 5, as torchvision builds it."""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register


class ShuffleUnit(nn.Module):
    """Half of the channels passes by, the other half sees 1x1, depthwise 3x3 and 1x1; then the halves are shuffled.

    With stride 2 both halves see all channels, and the one that passes by a depthwise 3x3 and a 1x1 convolution:
    `[b, h, w, *]` to `[b, h/2, w/2, features]`. (Figure 3, c and d.)
    """

    features: int
    stride: int
    conv: Any
    norm: Any
    act: Any = nn.relu

    @nn.compact
    def __call__(self, x: Array) -> Array:
        half = self.features // 2
        if self.stride == 1:
            aside, x = jnp.split(x, 2, axis=-1)
        else:
            aside = self.depthwise(x, "branch1", 0)
            aside = self.act(self.norm(name="branch1.3")(self.conv(half, 1, name="branch1.2")(aside)))
        y = self.act(self.norm(name="branch2.1")(self.conv(half, 1, name="branch2.0")(x)))
        y = self.depthwise(y, "branch2", 3)
        y = self.act(self.norm(name="branch2.6")(self.conv(half, 1, name="branch2.5")(y)))
        return jnp.stack([aside, y], axis=-1).reshape(*y.shape[:-1], self.features)  # the halves in turn

    def depthwise(self, x: Array, branch: str, i: int) -> Array:
        """A 3x3 convolution of each channel for itself and a norm, the layers i and i + 1 of a branch."""
        x = self.conv(x.shape[-1], 3, self.stride, groups=x.shape[-1], name=f"{branch}.{i}")(x)
        return self.norm(name=f"{branch}.{i + 1}")(x)


class ShuffleNetV2(Classifier, kw_only=True):
    """A stem to a quarter of the picture, three stages that begin with stride 2, a 1x1 convolution, mean, dense.

    `channels` are those of the stem, the three stages and the last convolution. `out`: `stem` has stride 4, `stage1`
    to `stage3`, which the reference calls stage2 to stage4, 8 to 32; `stage3` is behind the last convolution.
    """

    channels: tuple[int, ...]
    stage_sizes: tuple[int, ...] = (4, 8, 4)
    head: ClassVar = ("fc",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, kernel_init=layers.torch_kernel, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        unit = self.rematerialised(ShuffleUnit)
        x = nn.relu(norm(name="conv1.1")(conv(self.channels[0], 3, 2, name="conv1.0")(images)))
        x = layers.max_pool(x, 3, 2, padding=1)
        out = {"stem": x}
        for i, (size, features) in enumerate(zip(self.stage_sizes, self.channels[1:-1], strict=True), 1):
            for j in range(size):
                x = unit(features, 1 if j else 2, conv, norm, name=f"stage{i + 1}.{j}")(x)
            out[f"stage{i}"] = x
        x = nn.relu(norm(name="conv5.1")(conv(self.channels[-1], 1, name="conv5.0")(x)))
        out[f"stage{len(self.stage_sizes)}"] = x
        out["pre_logits"] = layers.global_mean(x)
        return self.classify(out["pre_logits"], "fc", train=train), out


register(partial(ShuffleNetV2, channels=(24, 48, 96, 192, 1024)), "shufflenet_v2_x0_5")
register(partial(ShuffleNetV2, channels=(24, 116, 232, 464, 1024)), "shufflenet_v2_x1_0")
register(partial(ShuffleNetV2, channels=(24, 176, 352, 704, 1024)), "shufflenet_v2_x1_5")
register(partial(ShuffleNetV2, channels=(24, 244, 488, 976, 2048)), "shufflenet_v2_x2_0")
