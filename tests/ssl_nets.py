"""The net of the references in fixtures/ssl.npz, and its parameters, which their names alone make."""

import zlib

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcls.models import layers
from jaxcls.models.base import Classifier

N, FEATURES, WIDTH, QUEUE = 8, 8, 6, 32  # pictures, of the encoder, of projections, keys
RATE, MOMENTUM = 0.1, 0.9  # of plain SGD, of the slow encoder
STAGES = (("conv1", "bn1", 4), ("conv2", "bn2", FEATURES))


class Encoder(Classifier):
    """Two times convolution, BatchNorm and ReLU; the mean over the picture; a dense layer."""

    head = ("fc",)

    @nn.compact
    def __call__(self, images, *, train=False):
        x = images
        for conv, bn, width in STAGES:
            x = nn.Conv(width, (3, 3), padding=1, use_bias=False, name=conv)(x)
            x = nn.relu(layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)(name=bn)(x))
        out = {"pre_logits": jnp.mean(x, (1, 2))}
        return self.classify(out["pre_logits"], "fc", train=train), out


def drawn(name, shape):
    """The values of a parameter such as "_projector/dense0/kernel", in Flax's layout, float32."""
    noise = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    kind = name.split("/")[-1]
    values = {"kernel": noise * np.sqrt(2 / np.prod(shape[:-1])), "scale": 1 + 0.2 * noise}
    return values.get(kind, 0.2 * noise).astype(np.float32)


def pictures():
    """(views [2 steps, n, 2, 8, 8, 3], labels [n]): views of a picture are alike."""
    rng = np.random.default_rng(0)
    base, noise = rng.normal(size=(2, N, 1, 8, 8, 3)), rng.normal(size=(2, N, 2, 8, 8, 3))
    brightness = rng.normal(size=(2, N, 1, 1, 1, 3))
    return (base + brightness + 0.5 * noise).astype(np.float32), np.array([0, 1, 2, 0, 1, 0, 3, 2], np.int32)


def batch_of(step):
    """The batch of a step, as a task gets it."""
    views, label = pictures()
    return {"views": jnp.asarray(views[step]), "image": jnp.asarray(views[step, :, 0]), "label": jnp.asarray(label)}
