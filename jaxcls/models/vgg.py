"""VGG: Simonyan, Zisserman 2014 (arXiv 1409.1556), table 1, columns A, B, D and E, as torchvision builds them."""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register


class VGG(Classifier, kw_only=True):
    """Five stages of 3x3 convolutions, each ended by a 2x2 max pool, and three dense layers with dropout.

    `width` features in the first stage, twice as many in each later one up to eight times; `batch_norm` behind each
    convolution. For pictures of 224x224 the last stage is 7x7; other sizes from 32x32 up are averaged to that
    (UserError below). `out`: `stem` is the first convolution after its ReLU, `stage1` to `stage5` are the pools, of
    strides 2 to 32; `pre_logits` are the `hidden` values behind the second dense layer.
    """

    stage_sizes: tuple[int, ...]
    batch_norm: bool = False
    width: int = 64
    hidden: int = 4096
    dropout: float = 0.5
    head: ClassVar = ("classifier.6",)
    unused: ClassVar = (r"classifier\.[03]\.",)
    # timm's spelling, where the dense layers are convolutions.
    renames: ClassVar = (
        (r"^pre_logits\.fc1\.", "classifier.0."),
        (r"^pre_logits\.fc2\.", "classifier.3."),
        (r"^head\.fc\.", "classifier.6."),
    )
    resized: ClassVar = {r"classifier\.0\.weight": lambda value, shape: value.reshape(shape)}

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_size(images, 2 ** len(self.stage_sizes), "VGG")
        out: dict[str, Any] = {}
        x, index = images, 0
        for i, size in enumerate(self.stage_sizes):
            features = self.width * min(2**i, 8)
            policy = layers.remat_policy(self.remat)
            stage = nn.remat(VGG.stage, static_argnums=(2, 3, 4, 5), policy=policy) if self.remat else VGG.stage
            first, x = stage(self, x, size, features, index, train)
            out.setdefault("stem", first)
            out[f"stage{i + 1}"] = x
            index += size * (3 if self.batch_norm else 2) + 1  # the pool has a number of its own
        if not self.num_classes:
            out["pre_logits"] = layers.global_mean(x)
            return out["pre_logits"], out
        init: dict[str, Any] = {"kernel_init": nn.initializers.normal(0.01), "bias_init": nn.initializers.zeros}
        x = layers.flatten(layers.adaptive_avg_pool(x, 7))
        x = nn.relu(layers.dense(x, self.hidden, name="classifier.0", **init, **self.dtypes))
        x = layers.dropout(x, self.dropout, train=train)
        x = nn.relu(layers.dense(x, self.hidden, name="classifier.3", **init, **self.dtypes))
        out["pre_logits"] = x.astype(jnp.float32)
        return self.classify(out["pre_logits"], "classifier.6", train=train, **init), out

    def stage(self, x: Array, size: int, features: int, index: int, train: bool) -> tuple[Array, Array]:
        """`size` convolutions, numbered from `index` on as in the reference's list of layers, and a max pool: what the
        first convolution gives, and the end."""
        outputs = []
        for _ in range(size):
            x = layers.conv(features, 3, use_bias=True, name=f"features.{index}", **self.dtypes)(x)
            if self.batch_norm:
                norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
                x = norm(name=f"features.{index + 1}")(x)
            x = nn.relu(x)
            outputs.append(x)
            index += 3 if self.batch_norm else 2
        return outputs[0], layers.max_pool(x, 2)


for _depth, _sizes in ((11, (1, 1, 2, 2, 2)), (13, (2, 2, 2, 2, 2)), (16, (2, 2, 3, 3, 3)), (19, (2, 2, 4, 4, 4))):
    register(partial(VGG, stage_sizes=_sizes), f"vgg{_depth}")
    register(partial(VGG, stage_sizes=_sizes, batch_norm=True), f"vgg{_depth}_bn")
