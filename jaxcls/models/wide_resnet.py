"""Wide residual networks for CIFAR: Zagoruyko and Komodakis 2016 (arXiv 1605.07146), table 1.

6n + 4 layers: a 3x3 convolution, three stages of n pre-activated basic blocks with 16, 32 and 64 features times
`widen`, norm, mean, dense. Names and initialisation are those of xternalz/WideResNet-pytorch. (ImageNet's
`wide_resnet50_2` is a ResNet, in `resnet`.)
"""

from functools import partial
from typing import ClassVar

from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register
from jaxcls.models.resnetv2 import PreActBlock


class WideResNet(Classifier):
    """The net with `depth` layers (6n + 4; UserError for another number), `widen` times as wide as a ResNet.

    Fields: block_dropout: before the second convolution of every block (section 2.4; 0.3 for CIFAR). dropout: before
    the classifier. stochastic_depth: of the last block, rising linearly.

    `out`: `stem` is the first convolution, `stage3` comes after the final norm.
    """

    depth: int
    widen: int
    block_dropout: float = 0.0
    stochastic_depth: float = 0.0
    head: ClassVar = ("fc",)

    def __post_init__(self):
        if self.depth < 10 or self.depth % 6 != 4:
            raise UserError(f"a wide ResNet has 6n + 4 layers (10, 16, 22, 28, ...), not {self.depth}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        block = partial(
            self.rematerialised(PreActBlock),
            kernels=(3, 3),
            conv=conv,
            norm=norm,
            norm_name="bn",
            shortcut_name="convShortcut",
            inner_drop=partial(layers.dropout, rate=self.block_dropout, train=train),
        )
        n = (self.depth - 4) // 6
        rates = iter(layers.rising(self.stochastic_depth, 3 * n))
        x = conv(16, 3, name="conv1")(images)
        out = {"stem": x}
        for i, features in enumerate((16 * self.widen, 32 * self.widen, 64 * self.widen)):
            for j in range(n):
                drop = partial(layers.stochastic_depth, rate=next(rates), train=train)
                x = block(
                    features=features,
                    out_features=features,
                    stride=2 if i > 0 and j == 0 else 1,
                    drop=drop,
                    name=f"block{i + 1}.layer.{j}",
                )(x)
            out[f"stage{i + 1}"] = x
        out["stage3"] = x = nn.relu(norm(name="bn1")(x))
        out["pre_logits"] = layers.global_mean(x)
        return self.classify(out["pre_logits"], "fc", train=train, bias_init=nn.initializers.zeros), out


for _depth, _widen in ((16, 8), (28, 10), (40, 4)):
    register(partial(WideResNet, depth=_depth, widen=_widen), f"wrn_{_depth}_{_widen}")
