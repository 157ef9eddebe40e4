"""AlexNet: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks".

`alexnet_2012` is the published net; `alexnet` torchvision's, which is that of "One weird trick for parallelizing
convolutional neural networks" (Krizhevsky 2014, arXiv 1404.5997): narrower, ungrouped, without response normalisation.
Both end their stages with the overlapping max pools, 3x3 of stride 2: for pictures of 224x224 `stem` is 55x55 (the
first convolution), `stage1` 27x27, `stage2` 13x13 and `stage3` 6x6. Other sizes from 63x63 up (UserError below) are
averaged to that 6x6.
"""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

LEAST = 63


class AlexNet(Classifier, kw_only=True):
    """Five convolutions with biases, three max pools, three dense layers; dropout before the first two of these.

    `pre_logits` are the `hidden` values behind the second dense layer.
    """

    channels: tuple[int, int, int, int, int] = (64, 192, 384, 256, 256)
    hidden: int = 4096
    dropout: float = 0.5
    head: ClassVar = ("classifier.6",)
    unused: ClassVar = (r"classifier\.[14]\.",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_size(images, LEAST, "AlexNet")

        def conv(x, i, features, size, stride=1, padding="torch"):
            bias_init = layers.torch_uniform(size**2 * x.shape[-1])
            layer = layers.conv(
                features,
                size,
                stride,
                padding=padding,
                use_bias=True,
                bias_init=bias_init,
                kernel_init=layers.torch_kernel,
                name=f"features.{i}",
                **self.dtypes,
            )
            return nn.relu(layer(x))

        out = {"stem": conv(images, 0, self.channels[0], 11, 4, padding=2)}
        out["stage1"] = layers.max_pool(out["stem"], 3, 2)
        out["stage2"] = x = layers.max_pool(conv(out["stage1"], 3, self.channels[1], 5), 3, 2)
        for i, features in zip((6, 8, 10), self.channels[2:], strict=True):
            x = conv(x, i, features, 3)
        out["stage3"] = x = layers.max_pool(x, 3, 2)
        if not self.num_classes:
            out["pre_logits"] = layers.global_mean(x)
            return out["pre_logits"], out
        x = layers.flatten(layers.adaptive_avg_pool(x, 6))
        for i in (1, 4):
            x = layers.dropout(x, self.dropout, train=train)
            x = nn.relu(layers.dense(x, self.hidden, name=f"classifier.{i}", **self.dtypes))
        out["pre_logits"] = x = x.astype(jnp.float32)
        return layers.logits_layer(x, self.num_classes, param_dtype=self.param_dtype, name="classifier.6"), out


def local_response_norm(x: Array, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> Array:
    """x / (k + alpha * the sum of squares over the `size` channels around each) ** beta, of `[..., c]` in float32.

    Section 3.3, with its constants. (PyTorch and Caffe divide alpha by the size.) Comes back in the type of x.
    """
    settings = {"size": size, "k": k, "alpha": alpha, "beta": beta}
    return layers.named("response_norm", _response_norm, x.astype(jnp.float32), **settings).astype(x.dtype)


def _response_norm(x, *, size, k, alpha, beta):
    window, strides = (1,) * (x.ndim - 1) + (size,), (1,) * x.ndim
    around = ((0, 0),) * (x.ndim - 1) + ((size // 2, size // 2),)
    squares = lax.reduce_window(x**2, 0.0, lax.add, window, strides, around)
    return x * (k + alpha * squares) ** -beta


class AlexNet2012(Classifier, kw_only=True):
    """The net of figure 2: 60,965,224 parameters for three channels and 1000 classes.

    Groups of two in the second, fourth and fifth convolution (the halves that the two GPUs of the paper held),
    response normalisation behind the first two, dropout behind the first two dense layers, where torchvision has it
    before. Weights start as in section 5: deviation 0.01, and biases of one where the paper has them.

    Where we differ: one stream of pictures sees the whole net, so the response normalisation sums over the border
    between the halves, too, as Caffe's does; and the first convolution pads by two, which gives the 55x55 of the paper
    for its 224x224 (unpadded they belong to 227x227).
    """

    channels: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    hidden: int = 4096
    dropout: float = 0.5
    head: ClassVar = ("fc8",)
    unused: ClassVar = (r"fc[67]\.",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_size(images, LEAST, "AlexNet")
        normal = nn.initializers.normal(0.01)
        zeros, ones = nn.initializers.zeros, nn.initializers.ones

        def conv(x, i, size, stride=1, groups=1, padding="torch", bias_init=ones):
            layer = layers.conv(
                self.channels[i - 1],
                size,
                stride,
                groups=groups,
                padding=padding,
                use_bias=True,
                kernel_init=normal,
                bias_init=bias_init,
                name=f"conv{i}",
                **self.dtypes,
            )
            return nn.relu(layer(x))

        out = {"stem": conv(images, 1, 11, 4, padding=2, bias_init=zeros)}
        out["stage1"] = x = layers.max_pool(local_response_norm(out["stem"]), 3, 2)
        x = conv(x, 2, 5, groups=2)
        out["stage2"] = x = layers.max_pool(local_response_norm(x), 3, 2)
        x = conv(x, 3, 3, bias_init=zeros)
        x = conv(conv(x, 4, 3, groups=2), 5, 3, groups=2)
        out["stage3"] = x = layers.max_pool(x, 3, 2)
        if not self.num_classes:
            out["pre_logits"] = layers.global_mean(x)
            return out["pre_logits"], out
        x = layers.flatten(layers.adaptive_avg_pool(x, 6))
        x = nn.relu(layers.dense(x, self.hidden, kernel_init=normal, bias_init=ones, name="fc6", **self.dtypes))
        x = layers.dropout(x, self.dropout, train=train)
        x = nn.relu(layers.dense(x, self.hidden, kernel_init=normal, bias_init=ones, name="fc7", **self.dtypes))
        out["pre_logits"] = x.astype(jnp.float32)
        return self.classify(out["pre_logits"], "fc8", train=train, kernel_init=normal, bias_init=zeros), out


register(AlexNet, "alexnet")
register(AlexNet2012, "alexnet_2012")
