"""Inverted residuals block by block: those of MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), each its own way.

Kernel, expansion, width and stride of each block are its own, as in the spaces of MnasNet (Tan et al. 2018, arXiv
1807.11626) and ProxylessNAS (Cai et al. 2018, arXiv 1812.00332): what an architecture search finds (docs/nas.md). With
its default fields it is MobileNetV2.
"""

from functools import partial
from typing import Any, ClassVar

from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.mobilenet_v2 import ROWS
from jaxcls.models.registry import register

STEMS = {"imagenet": 2, "cifar": 1}  # -> the stride of the first convolution
ACTIVATIONS = {"relu6": nn.relu6, "hard_swish": nn.hard_swish}
SKIP = "skip"  # a block that is not there

# kernel, expansion, width, stride
MOBILENET_V2 = tuple(
    (3, expansion, width, stride if i == 0 else 1) for expansion, width, n, stride in ROWS for i in range(n)
)


class MBConvNet(Classifier):
    """A 3x3 convolution, inverted residuals by `blocks`, a 1x1 convolution, mean, dense.

    Fields:
      blocks: (kernel, expansion, width, stride) of each, or "skip" for one that is not there: it keeps its number, so
        the parameters of the others keep their names. An expansion of 1 has no 1x1 convolution before the depthwise
        one. The input is added where a block keeps its shape.
      first, last: widths of the first convolution and of the 1x1 convolution behind the blocks; `last=0`: it is
        left away.
      stem: "imagenet": the first convolution halves the picture; "cifar": it doesn't.
      act: "relu6" or "hard_swish".

    `out`: a stage begins where a block halves the picture, `stem` is what stage1 sees. Where none does, `stem` is what
    the first block sees. Raises UserError for a block that is neither form, another `stem` or `act`.
    """

    blocks: tuple = MOBILENET_V2
    first: int = 32
    last: int = 1280
    stem: str = "imagenet"
    act: str = "relu6"
    head: ClassVar = ("classifier",)

    def __post_init__(self):
        layers.check_choice("stem", self.stem, STEMS)
        layers.check_choice("act", self.act, ACTIVATIONS)
        layers.check_positive("first", self.first)
        for block in self.blocks:
            _check(block)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        step, act = partial(layers.conv_norm, conv=conv, norm=norm), ACTIVATIONS[self.act]
        block = partial(self.rematerialised(layers.InvertedResidual), conv=conv, norm=norm, act=act)
        x = act(step(images, self.first, 3, STEMS[self.stem], name="features.0"))
        begins = starts(self.blocks)
        out, part = {}, "stem"
        for n, made in enumerate(self.blocks, 1):
            if n in begins:
                out[part] = x
                part = f"stage{len(out)}"
            if made != SKIP:
                kernel, expansion, width, stride = made
                x = block(width, expansion * x.shape[-1], kernel, stride, name=f"features.{n}")(x)
        if self.last:
            x = act(step(x, self.last, 1, name=f"features.{len(self.blocks) + 1}"))
        out[part] = x
        out["pre_logits"] = layers.global_mean(x)
        inits: dict[str, Any] = {"kernel_init": nn.initializers.normal(0.01), "bias_init": nn.initializers.zeros}
        return self.classify(out["pre_logits"], "classifier", train=train, **inits), out


def starts(blocks: tuple) -> set[int]:
    """The numbers, from 1, of the blocks with which a stage begins: those that halve the picture, else the first."""
    return {n for n, block in enumerate(blocks, 1) if block != SKIP and block[3] > 1} or {1}


def _check(block):
    if block == SKIP:
        return
    whole = isinstance(block, tuple) and all(isinstance(x, int) and not isinstance(x, bool) for x in block)
    if not whole or len(block) != 4 or min(block) < 1 or block[0] % 2 == 0 or block[3] > 2:
        like = "(kernel, expansion, width, stride) as in (5, 6, 24, 2), the kernel odd and the stride 1 or 2, or 'skip'"
        raise UserError(f"each entry of blocks must be {like}, not {block!r}")


register(MBConvNet, "mbconv_net")
