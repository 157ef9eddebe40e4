"""LeNet-5: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", II.B.

`lenet5` is the form that is usually built today, `lenet5_1998` the published one. Both take pictures of 32x32, or of
28x28 (MNIST), which are padded by two zeros on each side. (In the paper the background is -0.1 and the ink 1.175.)
"""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

# Table I: which of the six maps of S2 each of the sixteen maps of C3 sees; 60 pairs.
C3_INPUTS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# The digits as pictures of 12 rows of 7 pixels, side by side, 0 to 9: ours, in the manner of the paper's figure 3.
DIGITS = """
.#####. ...#... .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
##...## ..##... ##...## ##...## ....##. ##..... .##.... ##...## ##...## ##...##
##...## .###... ##...## .....## ...###. ##..... ##..... .....## ##...## ##...##
##...## ...#... .....## .....## ...###. ##..... ##..... ....##. ##...## ##...##
##..### ...#... .....## .....## ..#.##. ##.###. ##..... ....##. ##...## ##...##
##.#.## ...#... ....##. ..####. .##.##. ###..## ##.###. ...##.. .#####. .######
###..## ...#... ...##.. .....## .#..##. .....## ###..## ...##.. ##...## .....##
##...## ...#... ..##... .....## ####### .....## ##...## ..##... ##...## .....##
##...## ...#... .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...#... ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
##...## ...#... ##..... ##...## ....##. ##...## ##...## ..##... ##...## ...##..
.#####. .#####. ####### .#####. ....##. .#####. .#####. ..##... .#####. .###...
"""


def prototypes() -> np.ndarray:
    """The fixed centres of the output units: float32 `[10, 84]`, a digit's pixels row by row, ink 1, background -1."""
    rows = [line.split() for line in DIGITS.split("\n") if line]
    digits = ["".join(row[digit] for row in rows) for digit in range(10)]
    return np.array([[1 if pixel == "#" else -1 for pixel in digit] for digit in digits], np.float32)


def scaled_tanh(x: Array) -> Array:
    """1.7159 tanh(2x/3), so that +-1 maps to +-1 (appendix A)."""
    return 1.7159 * jnp.tanh(x * (2 / 3))


def pad_to_32(images: Array) -> Array:
    """Pictures of 28x28 with a border of two zeros, those of 32x32 as they are. UserError for other sizes."""
    height, width = images.shape[1:3]
    if (height, width) == (28, 28):
        return jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    if (height, width) == (32, 32):
        return images
    raise UserError(f"LeNet-5 takes pictures of 28x28 or 32x32, not {height}x{width}: resize them")


class LeNet5(Classifier):
    """Two 5x5 convolutions, each with a 2x2 average pool, and three dense layers, tanh throughout.

    61,706 parameters for one channel and 10 classes: all maps of C3 see all of S2, the pools have no parameters.
    `out`: `stem` is C1, `stage1` and `stage2` are S2 and S4, `stage3` is C5, `pre_logits` F6. Without classes F6 is
    left away, too: `pre_logits` is then C5.
    """

    head: ClassVar = ("fc3",)
    unused: ClassVar = (r"fc2\.",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        out: dict[str, Array] = {}
        x = pad_to_32(images)
        for i, features in enumerate((6, 16), 1):
            bias_init = layers.torch_uniform(25 * x.shape[-1])
            conv = layers.conv(
                features,
                5,
                padding=0,
                use_bias=True,
                kernel_init=layers.torch_kernel,
                bias_init=bias_init,
                name=f"conv{i}",
                **self.dtypes,
            )
            x = jnp.tanh(conv(x))
            out.setdefault("stem", x)
            out[f"stage{i}"] = x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        out["stage3"] = x = jnp.tanh(layers.dense(layers.flatten(x), 120, name="fc1", **self.dtypes))
        if self.num_classes:
            x = jnp.tanh(layers.dense(x, 84, name="fc2", **self.dtypes))
        out["pre_logits"] = x.astype(jnp.float32)
        return self.classify(out["pre_logits"], "fc3", train=train), out


def uniform_by_fan_in(fan_in: int | np.ndarray) -> nn.initializers.Initializer:
    """The paper's initialisation (appendix A): uniform within 2.4/fan_in of zero, for weights and biases alike."""
    return layers.uniform_within(2.4 / fan_in)


class Subsample(nn.Module):
    """The sum of each 2x2 square times a trainable coefficient plus a trainable bias, one pair a map (S2 and S4)."""

    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", uniform_by_fan_in(4), (x.shape[-1],), self.param_dtype)
        bias = self.param("bias", uniform_by_fan_in(4), (x.shape[-1],), self.param_dtype)
        total = 4 * nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        scale, bias = (jnp.expand_dims(a.astype(self.dtype), (0, 1, 2)) for a in (scale, bias))
        return total * scale + bias


class SparseConv(nn.Module):
    """C3: a 5x5 convolution whose output maps see the input maps of table I only: 1,500 weights and 16 biases.

    The kernel is `[5, 5, 60]`: a 5x5 window for each connected pair, in the order of the table.
    """

    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        source, target = np.array([(i, o) for o, inputs in enumerate(C3_INPUTS) for i in inputs]).T
        fan_in = np.array([25 * len(inputs) for inputs in C3_INPUTS])
        kernel = self.param("kernel", uniform_by_fan_in(fan_in[target]), (5, 5, len(source)), self.param_dtype)
        bias = self.param("bias", uniform_by_fan_in(fan_in), (len(fan_in),), self.param_dtype)
        full = jnp.zeros((5, 5, x.shape[-1], len(fan_in)), self.dtype)
        full = full.at[:, :, source, target].set(kernel.astype(self.dtype))
        x = lax.conv_general_dilated(x, full, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return x + bias[None, None, None].astype(self.dtype)


class LeNet51998(Classifier):
    """The published net: 60,000 trainable parameters for one channel.

    Trainable subsampling, the sparse C3, the scaled tanh after every layer, and output units that measure the squared
    distance of F6 to a fixed picture of each digit. Logits are minus these distances, so the nearest digit wins and a
    softmax over them is a likelihood under unit Gaussians (up to a factor of two in the exponent).
    The outputs are digits: at most 10 classes, UserError for more. `out` as in `LeNet5`, without classes, too.
    """

    num_classes: int = 10
    unused: ClassVar = (r"f6\.",)

    def __post_init__(self):
        if self.num_classes > 10:
            raise UserError(f"lenet5_1998 knows the ten digits: pass num_classes=10, not {self.num_classes}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        x, out = pad_to_32(images).astype(self.dtype), {}
        init = uniform_by_fan_in(25 * x.shape[-1])
        c1 = layers.conv(6, 5, padding=0, use_bias=True, kernel_init=init, bias_init=init, name="c1", **self.dtypes)
        out["stem"] = x = scaled_tanh(c1(x))
        out["stage1"] = x = scaled_tanh(Subsample(name="s2", **self.dtypes)(x))
        x = scaled_tanh(SparseConv(name="c3", **self.dtypes)(x))
        out["stage2"] = x = scaled_tanh(Subsample(name="s4", **self.dtypes)(x))
        x = layers.flatten(x)
        for layer, features in (("c5", 120), ("f6", 84))[: 2 if self.num_classes else 1]:
            init = uniform_by_fan_in(x.shape[-1])
            x = scaled_tanh(layers.dense(x, features, kernel_init=init, bias_init=init, name=layer, **self.dtypes))
            out.setdefault("stage3", x)
        out["pre_logits"] = x = x.astype(jnp.float32)
        if not self.num_classes:
            return x, out
        x = layers.dropout(x, self.dropout, train=train)
        distances = jnp.sum((x[:, None, :] - prototypes()[None, : self.num_classes]) ** 2, axis=-1)
        return -distances, out


register(LeNet5, "lenet5")
register(LeNet51998, "lenet5_1998")
