"""GoogLeNet: Szegedy et al. 2014, "Going deeper with convolutions" (arXiv 1409.4842), table 1, as in torchvision.

That differs from the paper: BatchNorm behind each convolution, no response normalisation, and 3x3 convolutions where
the paper has 5x5, a slip that the published weights depend on. These weights were trained on pictures scaled to
[-1, 1]: use them with mean 0.5 and deviation 0.5 (torchvision's `transform_input`, which undoes ImageNet's).
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

# Features of each block's 1x1; of the 1x1 and 3x3 of the two double branches; of the 1x1 behind the pool.
STAGES = (
    (("3a", (64, 96, 128, 16, 32, 32)), ("3b", (128, 128, 192, 32, 96, 64))),
    (
        ("4a", (192, 96, 208, 16, 48, 64)),
        ("4b", (160, 112, 224, 24, 64, 64)),
        ("4c", (128, 128, 256, 24, 64, 64)),
        ("4d", (112, 144, 288, 32, 64, 64)),
        ("4e", (256, 160, 320, 32, 128, 128)),
    ),
    (("5a", (256, 160, 320, 32, 128, 128)), ("5b", (384, 192, 384, 48, 128, 128))),
)
AUXILIARY = {"4a": "aux1", "4d": "aux2"}  # block -> the classifier behind it

# torchvision truncates it at two, two hundred deviations away.
normal = nn.initializers.normal(0.01)


class InceptionBlock(nn.Module):
    """Four branches side by side: 1x1; 1x1 and 3x3; the same again; 3x3 max pool and 1x1 (figure 2 b)."""

    features: tuple[int, ...]
    unit: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one, reduced2, three2, reduced3, three3, pooled = self.features
        branches = [self.unit(one, 1, name="branch1")(x)]
        branches.append(self.unit(three2, 3, name="branch2.1")(self.unit(reduced2, 1, name="branch2.0")(x)))
        branches.append(self.unit(three3, 3, name="branch3.1")(self.unit(reduced3, 1, name="branch3.0")(x)))
        branches.append(self.unit(pooled, 1, name="branch4.1")(layers.max_pool(x, 3, 1, padding=1)))
        return jnp.concatenate(branches, axis=-1)


class Auxiliary(nn.Module):
    """A classifier of intermediate features: average pool to 4x4, 1x1 convolution, two dense layers with dropout."""

    num_classes: int
    dropout: float
    train: bool
    unit: Any
    dtypes: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = self.unit(128, 1, name="conv")(layers.adaptive_avg_pool(x, 4))
        x = nn.relu(layers.dense(layers.flatten(x), 1024, kernel_init=normal, name="fc1", **self.dtypes))
        x = layers.dropout(x.astype(jnp.float32), self.dropout, train=self.train)
        return layers.logits_layer(
            x, self.num_classes, param_dtype=self.dtypes["param_dtype"], kernel_init=normal, name="fc2"
        )


class GoogLeNet(Classifier, kw_only=True):
    """A stem of three convolutions, nine inception blocks with max pools between the stages, mean, dense.

    Pictures of 15x15 or larger, UserError for smaller ones. `out`: `stem` is the first pool, `stage1` the stem's last
    convolution, both of stride 4; `stage2` to `stage4` end the blocks 3, 4 and 5, of strides 8 to 32.

    `aux_logits` adds the two auxiliary classifiers of section 5. Their parameters exist in any mode; in training
    `out["aux_logits"]` holds their logits, float32 `[b, num_classes]` each, the shallower one first (the paper adds
    their losses with a weight of 0.3). `aux_dropout` is the rate inside them. Without classes there are none.
    """

    aux_logits: bool = False
    aux_dropout: float = 0.7
    stages: tuple = STAGES
    dropout: float = 0.2
    epsilon: ClassVar = 1e-3
    head: ClassVar = ("fc", "aux1.fc2", "aux2.fc2")
    unused: ClassVar = (r"aux[12]\.",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_size(images, 15, "GoogLeNet")
        conv = partial(layers.conv, kernel_init=normal, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, epsilon=self.epsilon, **self.dtypes)
        unit = partial(layers.BasicConv, conv=conv, norm=norm)
        block = self.rematerialised(InceptionBlock)
        x = layers.max_pool(unit(64, 7, 2, name="conv1")(images), 3, 2, ceil=True)
        out: dict[str, Any] = {"stem": x}
        auxiliary = []
        out["stage1"] = x = unit(192, 3, name="conv3")(unit(64, 1, name="conv2")(x))
        for i, blocks in enumerate(self.stages, 2):
            x = layers.max_pool(x, 2 if i == 4 else 3, 2, ceil=True)
            for name, features in blocks:
                x = block(features, unit, name=f"inception{name}")(x)
                if self.aux_logits and self.num_classes and name in AUXILIARY and (train or self.is_initializing()):
                    aux = Auxiliary(self.num_classes, self.aux_dropout, train, unit, self.dtypes, name=AUXILIARY[name])
                    auxiliary.append(aux(x))
            out[f"stage{i}"] = x
        if auxiliary and train:
            out["aux_logits"] = tuple(auxiliary)
        out["pre_logits"] = layers.global_mean(x)
        return self.classify(out["pre_logits"], "fc", train=train, kernel_init=normal), out


register(GoogLeNet, "googlenet")
