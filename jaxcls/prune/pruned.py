"""A network with units gone, as a model like any other."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.prune import groups as grouping
from jaxcls.prune import kept as keeping
from jaxcls.prune.around import Around
from jaxcls.prune.program import Program, record
from jaxcls.prune.replay import Replay, take
from jaxcls.types import PyTree

STAND_IN = 10007  # a prime: what it divides is a multiple of the batch


@dataclasses.dataclass(frozen=True)
class Pruned(Around):
    """A Linen module of which channels are gone: what `init` and `apply` of it are, at the sizes that stay.

    The module itself is never run: every call traces it at its whole size and computes the trace at the small one
    (`replay`; docs/decisions.md says why). Whatever else is asked of the model, its module answers.

    Fields:
      module: as `models.create` builds it.
      kept: (group, bits) as `kept.to_config` has them, of the module's groups, sorted.
    """

    kept: tuple[tuple[str, str], ...]
    _cuts: dict[tuple[int, ...], keeping.Cuts] = dataclasses.field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def init(self, rngs: Any, images: Any, **settings: Any) -> PyTree:
        """The module's fresh variables, of which units are gone."""
        return self.small(self.module.init(rngs, images, **settings), images.shape[1:])

    def small(self, variables: PyTree, picture_shape: Sequence[int]) -> PyTree:
        """Variables of the whole module without what is gone."""
        cuts = self.cuts(picture_shape)

        def cut(tree, path):
            if isinstance(tree, Mapping):
                return {key: cut(inner, (*path, key)) for key, inner in tree.items()}
            for axis, stays in cuts.get("/".join(path), {}).items():
                tree = take(tree, np.flatnonzero(stays), axis)
            return tree

        return cut(variables, ())

    def large(self, variables: PyTree, picture_shape: Sequence[int]) -> PyTree:
        """Variables of the whole module that answer as the small ones do: zeros for what is gone (1 for variances)."""
        cuts = self.cuts(picture_shape)

        def fill(tree, path):
            if isinstance(tree, Mapping):
                return {key: fill(inner, (*path, key)) for key, inner in tree.items()}
            axes = cuts.get("/".join(path), {})
            shape = [len(axes[axis]) if axis in axes else size for axis, size in enumerate(np.shape(tree))]
            places = [np.flatnonzero(axes[a]) if a in axes else np.arange(n) for a, n in enumerate(shape)]
            whole = np.full(shape, path[-1] == "var", np.asarray(tree).dtype)
            whole[np.ix_(*places)] = tree
            return whole

        return fill(variables, ())

    def cuts(self, picture_shape: Sequence[int]) -> keeping.Cuts:
        """What stays of each variable (`kept.cuts`)."""
        shape = tuple(picture_shape)
        if shape not in self._cuts:
            self._cuts[shape] = keeping.cuts(grouping.find(self.module, shape), dict(self.kept))
        return self._cuts[shape]

    def apply(
        self,
        variables: PyTree,
        images: Array,
        *,
        train: bool = False,
        rngs: Mapping[str, Array] | None = None,
        mutable: Any = False,
    ) -> Any:
        """As the module's, of small variables."""
        full = self._full(variables, images.shape[1:])

        def call(variables, images, rngs):
            return self.module.apply(variables, images, train=train, rngs=rngs, mutable=mutable)

        traced = images if isinstance(images.shape[0], int) else _stand_in(images)
        program, outputs = record(call, full, traced, rngs)
        found = grouping.of_program(program)
        gone = keeping.gone(found, self.cuts(images.shape[1:]))
        replay = Replay(program, found, gone, {STAND_IN: images.shape[0]} if traced is not images else {})
        given = jax.tree.leaves((variables, images, rngs))
        _check(program, replay, given)
        return jax.tree.unflatten(jax.tree.structure(outputs), replay(given))

    def _full(self, variables, picture_shape):
        """Shapes of the whole module's variables. (Of an `init` they would be what interceptors of Flax make of it.)"""
        cuts = self.cuts(picture_shape)

        def whole(tree, path):
            if isinstance(tree, Mapping):
                return {key: whole(inner, (*path, key)) for key, inner in tree.items()}
            axes = cuts.get("/".join(path), {})
            shape = [len(axes[axis]) if axis in axes else size for axis, size in enumerate(jnp.shape(tree))]
            return jax.ShapeDtypeStruct(tuple(shape), jnp.result_type(tree))

        return whole(variables, ())


def _stand_in(images):
    """Of a batch of any size (for export): with a symbol as its size JAX traces another, longer program."""
    return jax.ShapeDtypeStruct((STAND_IN, *images.shape[1:]), images.dtype)


def _check(program: Program, replay: Replay, given: list[Any]) -> None:
    """Raises ValueError where variables are not those of the small network."""
    for name, value in program.variables.items():
        has = np.shape(given[program.inputs.index(value)])
        if has != replay.shape(value):
            raise ValueError(f"{name} is {list(has)}, and what is kept of it {list(replay.shape(value))}")
