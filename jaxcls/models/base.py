"""What all models have in common: fields, the last layer, and what the reader of published weights wants to know."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from jaxcls.models import layers


class Classifier(nn.Module, kw_only=True):
    """The base of every model; a family adds its own fields and `__call__(images, *, train)`.

    Fields:
      num_classes: 0 leaves the classifier away, hidden layers included: the logits are then `pre_logits`.
      dropout: rate before the last layer (of all of the classifier's dropout layers, where there are more).
      dtype, param_dtype: of the computation, of the parameters. Logits are float32 always.
      axis_name: of the mapped axis over which BatchNorm is synchronised by `pmap`; None: not.
      remat: recompute blocks in the backward pass, to save memory. Ignored where there is nothing to gain.

    Class attributes, for `pretrained`; names are those of a PyTorch state dict:
      head: modules of the last layer(s), which weights for other classes do not fit.
      unused: patterns of names that a file may hold and the model has no place for (tables that are computed here,
        auxiliary classifiers that are switched off).
      renames: (pattern, replacement) pairs of `re.sub` that turn another library's names into ours, applied in turn.
      resized: pattern -> function(value, shape) -> value, for tables whose shape follows the picture's size; both in
        PyTorch's layout.
    """

    num_classes: int = 1000
    dropout: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    head: ClassVar[tuple[str, ...]] = ()
    unused: ClassVar[tuple[str, ...]] = ()
    renames: ClassVar[tuple[tuple[str, str], ...]] = ()
    resized: ClassVar[dict[str, Callable]] = {}

    @property
    def kinds(self) -> dict:
        """The two dtypes, for the constructors of layers."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def rematerialised(self, block):
        """The class of a block, or, with `remat`, one that computes its inside again in the backward pass."""
        return nn.remat(block) if self.remat else block

    def classify(self, x, name: str, *, train: bool, kernel_init=layers.torch_kernel, bias_init=None):
        """Dropout and the dense layer `name` on features `[b, c]`: float32 `[b, num_classes]`."""
        if not self.num_classes:
            return x.astype(jnp.float32)
        x = layers.dropout(x, self.dropout, train=train)
        return layers.logits_layer(x, self.num_classes, param_dtype=self.param_dtype, name=name,
                                   kernel_init=kernel_init, bias_init=bias_init)  # fmt: skip
