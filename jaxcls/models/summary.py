"""What a model costs, from shapes alone: nothing is compiled or allocated.

The conventions, for one picture:

* **parameters**: the elements of the collection `params`; BatchNorm's running statistics are no parameters.
* **multiply-adds**: those of convolutions and matrix products (dense layers, attention, mixing of tokens), one for each
  product of two numbers; nothing for norms, activations, biases, pooling and sums. Two floating-point operations each.
  What does not depend on the picture (Swin version 2's table of biases) counts too. They are torchvision's published
  figures, for every model that has one, to the digits printed.
* **activations**: the elements of the outputs of the same operations: what Radosavovic et al. 2020 (arXiv 2003.13678,
  section 3.3) count of convolutions, and timm and fvcore of matrix products too, those of attention included.
* **kept**: the bytes that automatic differentiation keeps between the forward and the backward pass of a training step,
  parameters and the picture itself apart. The compiler may compute some of them again and needs room for others: what a
  compiled step of ResNet-18 or ViT-Ti takes a picture is within a fifth of it on the CPU. With `remat` the insides of
  blocks are computed again and not kept.

Convolutions are counted as such, also where the CPU uses another form of them (`layers.convolve`).
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend.core import Var

from jaxcls.errors import UserError
from jaxcls.models.layers import convolve

REST = "unused"  # the stage of what feeds no output in evaluation, such as auxiliary classifiers


@dataclasses.dataclass
class Row:
    """The sums of a part of a model: a layer, a block, a stage, or all of it."""

    name: str
    kind: str = ""  # the class of the module
    shape: tuple[int, ...] = ()  # of its output, without the batch
    parameters: int = 0
    macs: int = 0
    activations: int = 0

    def add(self, other: "Row") -> None:
        """Adds the sums of another part."""
        self.parameters += other.parameters
        self.macs += other.macs
        self.activations += other.activations


@dataclasses.dataclass
class Summary:
    """The costs of a model for one picture; the conventions are those above.

    Attributes:
      total: all of it.
      layers: path of a module -> the costs of the module itself, without those of modules inside of it, for the modules
        that have any.
      modules: path -> class and output of every module that is called, the net itself at (). In order of execution.
      stages: name of an output (`stem`, `stage1` .., `logits`) -> what is needed for it and for none before it.
      parameter_bytes, statistics_bytes: of the parameters, of other variables (BatchNorm's running statistics).
    """

    total: Row
    layers: dict[tuple[str, ...], Row]
    modules: dict[tuple[str, ...], Row]
    stages: dict[str, Row]
    parameter_bytes: int
    statistics_bytes: int

    def rows(self, by: str) -> list[Row]:
        """By "stage", "block" (modules of the net itself) or "layer", in order of execution."""
        if by == "stage":
            return list(self.stages.values())
        depth = {"block": 1, "layer": None}[by]
        rows: dict[tuple[str, ...], Row] = {}
        for path, row in self.layers.items():
            module = self.modules.get(path[:depth], Row(".".join(path[:depth])))
            rows.setdefault(path[:depth], dataclasses.replace(module)).add(row)
        order = {path: i for i, path in enumerate(self.modules)}
        return [rows[path] for path in sorted(rows, key=lambda path: order.get(path, len(order)))]


def summarize(model: nn.Module, shape: tuple[int, ...]) -> Summary:
    """The costs of `model` for a picture (height, width, channels) or a clip (frames, ..) of `shape`, in evaluation.

    Raises UserError for a picture that is too small for the model.
    """
    variables, images = _abstract(model, shape)
    jaxpr, outputs, modules, calls = _trace(model, variables, images)
    empty = [name for name, x in outputs.items() if 0 in x.shape]
    if empty:
        raise UserError(f"{_times(shape)} pictures are too small for {_name(model)}: {empty[0]} has no pixels left")
    stages = _stages(jaxpr, outputs)
    first: dict[Var | int, str] = {}  # variable or number of an operation -> stage
    for stage, needed in stages.items():
        for item in needed:
            first.setdefault(item, stage)
    result = Summary(Row("total"), {}, modules, {stage: Row(stage) for stage in (*stages, REST)}, 0, 0)
    for (path, leaf), var in zip(jax.tree_util.tree_leaves_with_path(variables), jaxpr.invars, strict=False):
        collection, *names = (key.key for key in path)
        nbytes = leaf.size * leaf.dtype.itemsize
        if collection == "params":
            result.parameter_bytes += nbytes
            _count(result, tuple(names[:-1]), first.get(var, REST), Row("", parameters=leaf.size))
        else:
            result.statistics_bytes += nbytes
    for i, eqn in enumerate(jaxpr.eqns):
        for call, macs, elements in _operations(eqn):
            _count(result, calls[call], first.get(i, REST), Row("", macs=macs, activations=elements))
    _tidy(result, outputs)
    return result


def kept_bytes(model: nn.Module, shape: tuple[int, ...]) -> int:
    """The bytes that automatic differentiation keeps for one picture in a training step, by the convention above."""
    variables, images = _abstract(model, shape)

    def backward(params, rest, images, key):
        def logits(params):
            return model.apply(
                {**rest, "params": params}, images, train=True, rngs={"dropout": key}, mutable=[*rest, "intermediates"]
            )[0][0]

        return jax.vjp(logits, params)[1]  # a pytree: its leaves are what is kept

    rest = {name: tree for name, tree in variables.items() if name != "params"}
    with convolve.plain():
        jaxpr = jax.make_jaxpr(backward)(variables["params"], rest, images, _key()).jaxpr
    inputs = _variables(jaxpr.invars[-2:])
    follows = set(inputs)  # what depends on picture or key: copies of the parameters in half precision do not
    for eqn in jaxpr.eqns:
        if not follows.isdisjoint(_variables(eqn.invars)):
            follows.update(eqn.outvars)
    kept = (_variables(jaxpr.outvars) & follows) - inputs
    avals: list[Any] = [var.aval for var in kept]
    return sum(aval.size * aval.dtype.itemsize for aval in avals)


def _key():
    return jax.eval_shape(lambda: jax.random.key(0))


def _abstract(model, shape):
    """Shapes and dtypes of the model's variables and of a batch of one."""
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    try:
        with convolve.plain():
            return jax.eval_shape(partial(model.init, train=False), _key(), images), images
    except UserError:
        raise
    except (ValueError, TypeError, ZeroDivisionError) as error:  # what shapes without pixels lead to
        reason = str(error).splitlines()[0]
        raise UserError(f"{_name(model)} cannot be built for {_times(shape)} pictures: {reason}") from error


def _trace(model, variables, images):
    """The program of an evaluation, the shapes of its outputs by name, the modules called, and the paths of all calls.

    Every operation is marked with the call that it is part of, as "@3" in its name stack; path 3 is the module's.
    """
    modules, calls = {}, []

    def note(call, args, kwargs, context):
        path = context.module.path
        calls.append(path)
        with jax.named_scope(f"@{len(calls) - 1}"):
            result = call(*args, **kwargs)
        if context.method_name == "__call__":
            kind = type(context.module).__name__.removeprefix("Checkpoint")  # of a block with `remat`
            first = result[0] if isinstance(result, tuple) else result
            modules[path] = Row(".".join(path), kind, tuple(getattr(first, "shape", ()))[1:])
        return result

    def evaluate(variables, images):
        logits, out = model.apply(variables, images, train=False)
        return {name: x for name, x in {**out, "logits": logits}.items() if hasattr(x, "shape")}

    with nn.intercept_methods(note), convolve.plain():
        closed, outputs = jax.make_jaxpr(evaluate, return_shape=True)(variables, images)
    if not isinstance(model, nn.Module):  # a pruned one: its modules were called at their whole size
        for mark, shape in _last_shapes(closed.jaxpr):
            modules[calls[mark]].shape = shape[1:]
    return closed.jaxpr, outputs, {path: modules[path] for path in dict.fromkeys(calls) if path in modules}, calls


def _last_shapes(jaxpr, outer="") -> Iterator[tuple[int, tuple[int, ...]]]:
    """(mark of the call, shape of its first result) of every operation, those within operations before it."""
    for eqn in jaxpr.eqns:
        stack = f"{outer}/{eqn.source_info.name_stack}"
        for inner in _inner(eqn):
            yield from _last_shapes(inner, stack)
        if marks := re.findall(r"@(\d+)", stack):
            yield int(marks[-1]), tuple(eqn.outvars[0].aval.shape)


def _stages(jaxpr, outputs) -> dict[str, set]:
    """Name of an output -> the variables and the numbers of the operations that it needs; the least first."""
    needs = {}
    for name, out in zip(sorted(outputs), jaxpr.outvars, strict=True):
        needed = _variables([out])
        for i, eqn in reversed(list(enumerate(jaxpr.eqns))):
            if not needed.isdisjoint(eqn.outvars):
                needed |= {i} | _variables(eqn.invars)
        needs[name] = needed
    return dict(sorted(needs.items(), key=lambda item: len(item[1])))


def _variables(atoms) -> set[Var]:
    return {atom for atom in atoms if isinstance(atom, Var)}


def _operations(eqn, outer: str = "") -> Iterator[tuple[int, int, int]]:
    """(mark of the call, multiply-adds, elements of the output) of every convolution and matrix product in `eqn`."""
    stack = f"{outer}/{eqn.source_info.name_stack}"
    sizes = [math.prod(var.aval.shape) for var in eqn.outvars]
    if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
        marks = re.findall(r"@(\d+)", stack)
        yield int(marks[-1]), sizes[0] * _products(eqn), sizes[0]
    times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
    for inner in _inner(eqn):
        for op in inner.eqns:
            for mark, macs, elements in _operations(op, stack):
                yield mark, times * macs, times * elements


def _products(eqn) -> int:
    """The products that are added up to each element of the output."""
    left, right = (var.aval.shape for var in eqn.invars)
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return math.prod(left[axis] for axis in contracted)
    features = eqn.params["dimension_numbers"].rhs_spec[0]
    return math.prod(right) // right[features]


def _inner(eqn):
    """The programs inside an operation: of `jit`, `remat`, functions with their own derivative, loops."""
    for value in eqn.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner


def _count(summary, path, stage, row):
    summary.layers.setdefault(path, Row(".".join(path))).add(row)
    summary.stages[stage].add(row)
    summary.total.add(row)


def _tidy(summary, outputs):
    """Names and shapes; no row for what needs nothing of its own, unless it is a stage."""
    summary.modules[()].name = f"({summary.modules[()].kind})"
    for name, row in list(summary.stages.items()):
        if name in outputs:
            row.shape = outputs[name].shape[1:]
        if not (row.parameters or row.macs or name.startswith("st")):
            del summary.stages[name]
    summary.total.shape = outputs["logits"].shape[1:]


def _name(model):
    return type(model).__name__


def _times(shape):
    return "x".join(map(str, shape[:-1]))
