"""Computes the program of a network with units gone: every operation as it was traced, at smaller sizes."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcls.models.layers import convolve
from jaxcls.models.layers.named import parsed, program_of
from jaxcls.prune import rules
from jaxcls.prune.groups import Groups
from jaxcls.prune.program import CALLS, Program, Step

# Of JAX, which the ONNX writer knows by name and program.
ACTIVATIONS = {"relu6": jax.nn.relu6, "hard_silu": jax.nn.hard_silu, "hard_sigmoid": jax.nn.hard_sigmoid}
Keep = dict[int, np.ndarray]  # axis -> [size] bool: what stays along it


class Replay:
    """The values of a program when units are gone, and what runs it.

    Nothing is decided anew: which block has a shortcut of its own, how an axis is split, where zeros are padded, all
    is as it was traced; only sizes change. Random bits are drawn as for the whole network and cut, so that dropout
    takes from what stays what it would have taken.

    Args:
      program: a program.
      groups: of `groups.of_program`.
      gone: `[n]` roots (`Group.roots`) of the units that are gone.
      sizes: {prime: size} where the program was traced with a prime in place of a size that is a symbol; what the prime
        divides is so many times that size.
    """

    def __init__(self, program: Program, groups: Groups, gone: np.ndarray, sizes: Mapping[int, Any] | None = None):
        self.program, self._shadows, self._sizes = program, groups.shadows, dict(sizes or {})
        self._gone = np.zeros(1 + max([0, *(int(s.max()) for some in groups.shadows for s in some)]), bool)
        self._gone[gone] = True
        self._known: dict[int, Keep] = {}
        self.spread: dict[int, tuple[Any, tuple[int, ...]]] = {}

    def keep(self, value: int) -> Keep:
        """What stays of a value, along the axes of which something goes."""
        if value not in self._known:
            found = {}
            for shadow in self._shadows[value]:
                (axis,) = (axis for axis, size in enumerate(shadow.shape) if size > 1)
                stays = ~self._gone[shadow.ravel()]
                if not stays.all():
                    found[axis] = stays
            self._known[value] = found
        return self._known[value]

    def shape(self, value: int) -> tuple[Any, ...]:
        """Of a value."""
        shape = list(self.program.shapes[value])
        for axis, stays in self.keep(value).items():
            shape[axis] = int(stays.sum())
        return self.sized(tuple(shape))

    def sized(self, setting: Any) -> Any:
        """A setting of an operation, with symbols for the primes in it."""
        if isinstance(setting, tuple) and type(setting) is tuple:
            return tuple(map(self.sized, setting))
        for prime, size in self._sizes.items():
            if type(setting) is int and setting and setting % prime == 0:
                return setting // prime * size
        return setting

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs, of inputs of the sizes that stay."""
        known: dict[int, Any] = dict(zip(self.program.inputs, inputs, strict=True))
        self._run(self.program.tree, known)
        return [self._read(known, value) for value in self.program.outputs]

    def _read(self, known, value):
        return known[value] if value in known else self.program.constants[value]

    def _run(self, steps, known):
        for step in steps:
            values = [self._read(known, value) for value in step.inputs]
            with jax.named_scope(step.scope) if step.scope else contextlib.nullcontext():
                results = self._call(step, values) if step.primitive in CALLS else self._apply(step, values)
            known |= zip(step.outputs, results, strict=True)

    def _call(self, step, values):
        """A call stays one where its name or its derivative matters."""

        def inside(*values):
            known = dict(zip(step.inputs, values, strict=True))
            self._run(step.inner, known)
            return [self._read(known, value) for value in step.outputs]

        if step.primitive == "custom_jvp_call" and [inner.primitive for inner in step.inner] == ["max"]:
            return [jax.nn.relu(values[0])]  # whose derivative at 0 is 0; that of max is 1/2
        if step.primitive in ("checkpoint", "remat2"):
            return jax.checkpoint(inside, policy=step.settings.get("policy"))(*values)
        title = step.settings.get("name", "")
        if (known := ACTIVATIONS.get(title)) and len(step.inputs) == 1:
            whole = jax.ShapeDtypeStruct(self.program.shapes[step.inputs[0]], values[0].dtype)
            if str(step.settings.get("jaxpr")) == program_of(known, whole):
                return [known(values[0])]
        if step.primitive in ("jit", "pjit") and parsed(title):
            inside.__name__ = title
            return jax.jit(inside)(*values)
        return inside(*values)

    def _apply(self, step, values):
        """The results of an operation."""
        if step.primitive in rules.ENTRYWISE:
            keep = self.keep(step.outputs[0])
            values = [self._cut(x, i, keep) for x, i in zip(values, step.inputs, strict=True)]
        rule = RULES.get(step.primitive)
        return rule(self, step, values) if rule else self.bind(step, values)

    def bind(self, step: Step, values: Sequence[Any], **changed: Any) -> list[Any]:
        """The results of an operation, with other settings."""
        settings = {key: self.sized(value) for key, value in {**step.settings, **changed}.items()}
        results = step.operation.bind(*values, **settings)
        return list(results) if step.operation.multiple_results else [results]

    def _cut(self, x: Any, value: int, keep: Mapping[int, np.ndarray]) -> Any:
        """A value cut to what stays of those that it meets, where it is still whole."""
        if not np.ndim(x):
            return x
        whole = self.program.shapes[value]  # 1 where an operation broadcasts by itself
        keep = {axis: s for axis, s in keep.items() if axis not in self.keep(value) and whole[axis] == len(s)}
        if not keep:
            return x
        if value in self.spread:  # less of a broadcast is a smaller broadcast
            source, at = self.spread[value]
            shape = [int(keep[axis].sum()) if axis in keep else size for axis, size in enumerate(x.shape)]
            for axis, stays in keep.items():
                if axis in at and np.shape(source)[at.index(axis)] == len(stays):
                    source = take(source, np.flatnonzero(stays), at.index(axis))
            return lax.broadcast_in_dim(source, shape, at)
        for axis, stays in keep.items():
            x = take(x, np.flatnonzero(stays), axis)
        return x


def take(x: Any, indices: np.ndarray, axis: int) -> Any:
    """Entries along an axis: a slice where they follow each other."""
    if len(indices) and (np.diff(indices) == 1).all():
        return lax.slice_in_dim(x, int(indices[0]), int(indices[-1]) + 1, axis=axis)
    return jnp.take(x, indices, axis=axis, unique_indices=True, indices_are_sorted=True, mode="clip")


def _broadcast(run, step, values):
    """New axes are whole until they meet something that is not."""
    (out,), at = step.outputs, tuple(step.settings["broadcast_dimensions"])
    run.spread[out] = values[0], at
    return [lax.broadcast_in_dim(values[0], run.shape(out), at)]


def _reshape(run, step, values):
    return [lax.reshape(values[0], run.shape(step.outputs[0]))]


def _slice(run, step, values):
    (value,), settings = step.inputs, dict(step.settings)
    starts, limits = list(settings["start_indices"]), list(run.sized(tuple(settings["limit_indices"])))
    strides = list(settings["strides"] or (1,) * len(starts))
    chosen = {}
    for axis, stays in run.keep(value).items():
        position = np.cumsum(stays) - 1
        cut = slice(starts[axis], limits[axis], strides[axis])
        chosen[axis] = position[cut][stays[cut]]
        starts[axis], limits[axis], strides[axis] = 0, int(stays.sum()), 1
    x = lax.slice(values[0], starts, limits, strides)
    for axis, indices in chosen.items():
        x = take(x, indices, axis)
    return [x]


def _split(run, step, values):
    axis = step.settings["axis"]
    return lax.split(values[0], [run.shape(value)[axis] for value in step.outputs], axis)


def _pad(run, step, values):
    config = list(step.settings["padding_config"])
    for axis, stays in run.keep(step.outputs[0]).items():
        low, high, inside = config[axis]
        config[axis] = (int(stays[:low].sum()), int(stays[len(stays) - high :].sum()), inside)
    return [lax.pad(*values, config)]


def _meeting(along: str | None):
    """The rule of what stands side by side along an axis, and meets along the others."""

    def rule(run, step, values):
        axis = step.settings[along] if along else -1
        keep = {}
        for value in step.inputs:
            keep |= {i: stays for i, stays in run.keep(value).items() if i != axis}
        values = [run._cut(x, i, keep) for x, i in zip(values, step.inputs, strict=True)]
        return run.bind(step, values)

    return rule


def _dot(run, step, values):
    inputs, numbers = step.inputs, step.settings["dimension_numbers"]
    values = list(values)
    for pair in (pair for axes in numbers for pair in zip(*axes, strict=True)):
        for side in (0, 1):
            other = run.keep(inputs[1 - side]).get(pair[1 - side])
            if other is not None:
                values[side] = run._cut(values[side], inputs[side], {pair[side]: other})
    return run.bind(step, values)


def convolution(settings: Mapping[str, Any], x: Any, kernel: Any) -> Any:
    """A traced convolution, in the form that suits the backend (`layers.convolve`), for kernels of whatever sizes."""
    groups, numbers = settings["feature_group_count"], settings["dimension_numbers"]
    if groups > 1:
        groups = x.shape[numbers.lhs_spec[1]] // kernel.shape[numbers.rhs_spec[1]]
    usual = x.ndim == 4 and numbers == lax.conv_dimension_numbers(x.shape, kernel.shape, LAYOUT)
    if settings["batch_group_count"] != 1 or not usual:
        return lax.conv_general_dilated_p.bind(x, kernel, **{**settings, "feature_group_count": groups})
    return convolve.convolve(
        x, kernel, settings["window_strides"], settings["padding"], settings["lhs_dilation"], settings["rhs_dilation"],
        dimension_numbers=LAYOUT, feature_group_count=groups, precision=settings["precision"],
    )  # fmt: skip


def _gather(run, step, values):
    sizes = [
        stays.sum() if stays is not None else size
        for size, stays in zip(
            step.settings["slice_sizes"], map(run.keep(step.inputs[0]).get, range(np.ndim(values[0]))), strict=True
        )
    ]
    return run.bind(step, values, slice_sizes=tuple(map(int, sizes)))


LAYOUT = ("NHWC", "HWIO", "NHWC")
Rule = Callable[[Replay, Step, Sequence[Any]], Sequence[Any]]
RULES: dict[str, Rule] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "slice": _slice,
    "split": _split,
    "pad": _pad,
    "concatenate": _meeting("dimension"),
    "stack": _meeting(None),
    "dot_general": _dot,
    "conv_general_dilated": lambda run, step, values: [convolution(step.settings, *values)],
    "gather": _gather,
}
