"""What all models have in common: fields, the last layer, and what the reader of published weights wants to know."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from jaxcls.models import layers

Outputs = tuple[Array, dict[str, Any]]  # logits, and the features on the way


class Dtypes(TypedDict):
    """What constructors of layers are told."""

    dtype: Any
    param_dtype: Any


class Classifier(nn.Module, kw_only=True):
    """The base of every model; a family adds its own fields and `__call__(images, *, train)`.

    Fields:
      num_classes: 0 leaves the classifier away, hidden layers included: the logits are then `pre_logits`.
      dropout: rate before the last layer (of all of the classifier's dropout layers, where there are more).
      dtype, param_dtype: of the computation, of the parameters. Logits are float32 always.
      axis_name: what BatchNorm takes its statistics of (`layers.batch_norm`): None: the batch that it is given; a name:
        those of all devices of a mapped axis (`pmap`); a number: so many groups of the batch, each apart.
      remat: recompute blocks in the backward pass, to save memory: True, all of their inside; or what is kept, one of
        `layers.REMAT`. Ignored where there is nothing to gain.

    The properties `head`, `unused`, `renames` and `resized` are for `pretrained`, in the names of a PyTorch state dict;
    most families have class attributes in their place. `clips` is for the pipeline.
    """

    num_classes: int = 1000
    dropout: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    axis_name: str | int | None = None
    remat: bool | str = False

    @property
    def clips(self) -> bool:
        """Whether it takes clips `[n, t, h, w, c]`, not pictures."""
        return False

    @property
    def head(self) -> tuple[str, ...]:
        """Modules of the last layer(s), which weights for other classes do not fit."""
        return ()

    @property
    def unused(self) -> tuple[str, ...]:
        """Patterns of names that a file may hold and the model has no place for: tables that are computed here,
        auxiliary classifiers that are switched off."""
        return ()

    @property
    def renames(self) -> tuple[tuple[str, str], ...]:
        """(pattern, replacement) of `re.sub`, from another library's names to ours, applied in turn."""
        return ()

    @property
    def resized(self) -> dict[str, Callable]:
        """Pattern -> function(value, shape) -> value, for tables whose shape follows the picture's size; both in
        PyTorch's layout."""
        return {}

    @property
    def inputs(self) -> tuple[str, ...]:
        """Leaves of a batch that the net takes beside the pictures, as keyword arguments of these names. Each may be
        left out where shapes alone are wanted: what is None is what the net has when nothing is known."""
        return ()

    @property
    def epsilon(self) -> float:
        """Of the norms, in the square root; a field where weights that fit the model want different ones."""
        return 1e-5

    @property
    def padding(self) -> str:
        """Of the convolutions, "torch" or "same" (`layers.conv`); a field as `epsilon` is."""
        return "torch"

    @property
    def versions(self) -> dict[str, int]:
        """Module -> the version without which its library refuses a state dict ("": the net itself)."""
        return {}

    def for_library(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A state dict as the library of the names takes it strictly: with the tables that it keeps there, though they
        follow from sizes alone. (PyTorch adds the counters of a BatchNorm by itself.)"""
        return dict(state)

    def for_inference(self, variables: Any) -> tuple["Classifier", Any]:
        """(a net, its variables) with the same answers in evaluation and less to compute: what is exported."""
        return self, variables

    @property
    def dtypes(self) -> Dtypes:
        """The two dtypes, for the constructors of layers."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def rematerialised(self, block: Any) -> Any:
        """The class of a block, or, with `remat`, one that computes its inside again in the backward pass."""
        return nn.remat(block, policy=layers.remat_policy(self.remat)) if self.remat else block

    def classify(
        self, x: Array, name: str, *, train: bool, kernel_init: Any = layers.torch_kernel, bias_init: Any = None
    ) -> Array:
        """Dropout and the dense layer `name` on features `[b, c]`: float32 `[b, num_classes]`."""
        if not self.num_classes:
            return x.astype(jnp.float32)
        x = layers.dropout(x, self.dropout, train=train)
        return layers.logits_layer(
            x, self.num_classes, param_dtype=self.param_dtype, name=name, kernel_init=kernel_init, bias_init=bias_init
        )
