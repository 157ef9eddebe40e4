"""A classifier that takes columns of a table beside the picture: age and place beside an X-ray.

`create("resnet50", neck="columns", columns=...)`; config.data.columns names them. Features of both side by side, and a
hidden layer over the two, is late fusion as Huang et al. 2020 survey it (npj Digital Medicine 3:136, "joint fusion").
"""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.columns import Column, unknown
from jaxcls.models import layers
from jaxcls.models.base import Outputs
from jaxcls.models.neck import Neck


class Columns(Neck, kw_only=True):
    """A backbone, a hidden layer of the columns, one of both, dense.

    Fields:
      backbone: built with `num_classes=0`; its `pre_logits` are the features of the picture.
      columns: how cells become numbers (`jaxcls.columns.encoded`); the net needs their number alone, but whoever asks
        it needs all.
      features: of each hidden layer (ReLU).

    `pre_logits` are the picture's features, those of the columns and those of both: the last layer sees each for
    itself, and what only the two together tell. Without columns the row is one of which nothing is known.
    """

    columns: tuple[Column, ...] = ()
    features: int = 32
    head: ClassVar = ("classifier",)
    inputs: ClassVar = ("columns",)
    remedy: ClassVar = "give a table that has them (jaxcls predict RUN table/FILE.csv)"

    @property
    def beside(self) -> str:
        """What the net takes, for messages."""
        return f"the column{'s'[: len(self.columns) > 1]} {', '.join(repr(column.name) for column in self.columns)}"

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False, columns: Array | None = None) -> Outputs:
        _, out = self.backbone(images, train=train)
        picture = out["pre_logits"]
        if columns is None:
            columns = jnp.broadcast_to(jnp.asarray(unknown(self.columns)), (len(images), len(unknown(self.columns))))
        told = nn.relu(self.dense("columns.fc")(columns.astype(self.dtype)))
        both = nn.relu(self.dense("joint.fc")(jnp.concatenate([picture.astype(self.dtype), told], axis=-1)))
        out["pre_logits"] = jnp.concatenate([picture.astype(self.dtype), told, both], axis=-1)
        return self.classify(out["pre_logits"], "classifier", train=train), out

    def dense(self, name: str) -> nn.Dense:
        """A layer of `features`, with PyTorch's initial values."""
        return nn.Dense(self.features, kernel_init=layers.torch_kernel, name=name, **self.dtypes)
