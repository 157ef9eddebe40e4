"""The two-convolution nets that introductory articles start from."""

from functools import partial
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register


class SimpleCNN(Classifier):
    """(3x3 convolution, ReLU, 2x2 max pool) twice, a hidden dense layer with ReLU, a dense layer.

    Most of its parameters sit in `fc1`, whose size follows the picture's: it takes one size, the one that it was
    initialised with, from 4x4 up (UserError below). `out`: `stem` is the first convolution after its ReLU, `stage1`
    and `stage2` the two pools. Without classes `pre_logits` is the mean of the latter.
    """

    channels: tuple[int, int]
    hidden: int
    head: ClassVar = ("fc2",)
    unused: ClassVar = (r"^fc1\.",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        if min(images.shape[1:3]) < 4:
            raise UserError(f"SimpleCNN halves pictures twice: they must be 4x4 or larger, not {images.shape[1:3]}")
        out: dict[str, Array] = {}
        x = images
        for i, features in enumerate(self.channels, 1):
            bias_init = layers.torch_uniform(9 * x.shape[-1])
            conv = layers.conv(
                features,
                3,
                use_bias=True,
                kernel_init=layers.torch_kernel,
                bias_init=bias_init,
                name=f"conv{i}",
                **self.dtypes,
            )
            x = nn.relu(conv(x))
            out.setdefault("stem", x)
            out[f"stage{i}"] = x = layers.max_pool(x, 2)
        if self.num_classes:
            x = nn.relu(layers.dense(layers.flatten(x), self.hidden, name="fc1", **self.dtypes))
        out["pre_logits"] = x.astype(jnp.float32) if self.num_classes else layers.global_mean(x)
        return self.classify(out["pre_logits"], "fc2", train=train), out


# With 10 classes at 224x224: 51,402,442 and 12,851,562 parameters.
register(partial(SimpleCNN, channels=(32, 64), hidden=256), "simple_cnn_32_64")
register(partial(SimpleCNN, channels=(16, 32), hidden=128), "simple_cnn_16_32")
