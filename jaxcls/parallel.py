"""One program on one device, many devices or many processes: jit over sharded arrays, or pmap.

Both modes take and return state without a leading device axis; it is replicated, or, in `jit` mode, cut over devices by
rules (sharding.py). In `jit` mode the compiler sees the global batch; in `pmap` mode a device sees its slice, and
whatever crosses devices says so through the collectives below, which do nothing where `axis_name` is None. What
BatchNorm takes its statistics of is one setting for both, `Parallel.batch_norm`.
"""

import contextvars
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls import sharding
from jaxcls.errors import UserError
from jaxcls.hyperparameters import Hoisted
from jaxcls.placement import AXIS, Placement
from jaxcls.types import PyTree

STATE = "state"  # among the axes of `Parallel.compile`: a state, which lies where `Parallel.place` puts it
MESH = ((AXIS, -1),)


class Target(NamedTuple):
    """What a function is traced for: the kind of device ("cpu", "gpu", "tpu"), and how many."""

    platform: str
    devices: int


_TARGET: contextvars.ContextVar[Target | None] = contextvars.ContextVar("target", default=None)


def target() -> Target:
    """What is being traced for: the devices of the `Parallel` that compiles, else JAX's default ones."""
    return _TARGET.get() or Target(jax.default_backend(), jax.device_count())


def psum(tree: PyTree, axis_name: str | None) -> PyTree:
    """Sum over the devices of a mapped axis; the tree itself where there is none."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def pmean(tree: PyTree, axis_name: str | None) -> PyTree:
    """Mean over the devices of a mapped axis (the maximum for integers, such as counters)."""
    if axis_name is None:
        return tree

    def mean(x):
        reduce = jax.lax.pmean if jnp.issubdtype(x.dtype, jnp.inexact) else jax.lax.pmax
        return reduce(x, axis_name)

    return jax.tree.map(mean, tree)


def all_gather(tree: PyTree, axis_name: str | None) -> PyTree:
    """The shares [n / devices, ...] of all devices as [n, ...], in the order of the batch."""
    return tree if axis_name is None else jax.lax.all_gather(tree, axis_name, tiled=True)


def axis_index(axis_name: str | None) -> int | jax.Array:
    """The number of this device on a mapped axis; 0 where there is none."""
    return 0 if axis_name is None else jax.lax.axis_index(axis_name)


def once() -> dict[str, Any]:
    """Compiler options (`jax.jit(f, compiler_options=once())`) for a program that runs once, on JAX's default devices.

    On a CPU LLVM takes a third of the time, for slower code that gives the same bits: -O1. (-O0 gives others: it does
    not contract multiplications and additions.) Nothing where JAX is told to leave out most optimisations anyway.
    """
    if jax.default_backend() != "cpu" or jax.config.read("jax_disable_most_optimizations"):
        return {}
    return {"xla_backend_optimization_level": 1}


def agree(choose: Callable[[], int | None]) -> int | None:
    """What `choose()` returns on process 0 (a whole number from 0 up, or None), known to all processes.

    Files are read by one process, so that none acts on a folder that another is changing. A UserError there ends the
    others too.
    """
    if jax.process_count() == 1:
        return choose()
    from jax.experimental import multihost_utils

    value, error = None, None
    if jax.process_index() == 0:
        try:
            value = choose()
        except UserError as raised:
            error = raised
    code = -2 if error else -1 if value is None else value
    code = int(multihost_utils.broadcast_one_to_all(np.int32(code)))
    if error:
        raise error
    if code == -2:
        raise UserError("process 0 can't go on; its output says why.")
    return None if code == -1 else code


class Parallel(Placement):
    """Compiles functions for the devices of a run and moves arrays to them.

    Attributes:
      mode: "jit" or "pmap".
      axis_name: what collectives are told: `AXIS` in pmap mode, None in jit mode.
      devices: of all processes; `size`: their number; `platform`: "cpu", "gpu" or "tpu".
      shape: axis of the mesh -> how many devices lie along it; `shares`: in how many parts a batch is cut.
      rules: by which the arrays of a state are cut (sharding.py); () where every device has all of them.
    """

    def __init__(
        self,
        mode: str = "jit",
        devices: int | Sequence[Any] | None = None,
        mesh: Sequence[Any] = MESH,
        shard: Sequence[Any] = (),
    ):
        """`devices`: how many of this machine's devices to use (single-process runs only); None for all. Or the devices
        themselves, which need not be attached where something is only compiled (jax.experimental.topologies). `mesh`,
        `shard`: of config.parallel.

        Raises UserError for an unknown mode, more devices than there are, a mesh or rules that can't be.
        """
        if mode not in ("jit", "pmap"):
            raise UserError(f"config.parallel.mode is {mode!r}; it can be 'jit' or 'pmap'.")
        chosen = self._available(devices) if devices is None or isinstance(devices, int) else list(devices)
        self.size, self.platform = len(chosen), chosen[0].platform
        self.axis_name = AXIS if mode == "pmap" else None
        shape = sharding.mesh_shape(mesh, self.size)
        rules = sharding.rules(shard, shape)
        if mode == "pmap" and (rules or list(shape) != [AXIS]):
            raise UserError(
                "config.parallel.mode='pmap' has one axis of devices, which all hold the whole state; leave out "
                "config.parallel.mesh and shard, or use 'jit'."
            )
        super().__init__(mode, chosen, shape, rules)

    @classmethod
    def of(cls, config: Any) -> "Parallel":
        """That of config.parallel (a section, or a Reader of it)."""
        return cls(config.mode, config.devices, config.mesh, config.shard)

    @staticmethod
    def _available(devices):
        """So many of JAX's devices, or all."""
        available = jax.devices()
        if devices and devices > len(available):
            raise UserError(
                f"config.parallel.devices asks for {devices} devices, but JAX sees {len(available)} "
                f"({available[0].platform})."
            )
        if devices and jax.process_count() > 1:
            raise UserError(
                "config.parallel.devices can't be set when several processes train together; leave it at 0 (all)."
            )
        return available[: devices or None]

    def batch_norm(self, setting: str, rows: int) -> str | int | None:
        """What a model is told as its `axis_name`, so that BatchNorm does the same in both modes (layers.batch_norm).

        Args:
          setting: config.parallel.batch_norm, of what statistics are taken: "global", the batch of all devices;
            "local", the share of a device; "groups(8)", each of eight groups of neighbours, on any devices.
          rows: pictures of all devices that pass the net at once: of a micro-batch, where there are some.

        Raises:
          UserError: for another text, or groups that the devices or the pictures can't be cut into.
        """
        if setting == "global":
            return self.axis_name
        found = re.fullmatch(r"groups\(([1-9]\d{0,8})\)", setting)
        if not found and setting != "local":
            raise UserError(
                f"config.parallel.batch_norm is {setting[:60]!r}; it can be 'global', 'local' or, with a number of "
                "groups from 1 on, 'groups(8)'."
            )
        groups = int(found[1]) if found else self.shares
        if found and (groups % self.shares or rows % groups):
            fitting = [g for g in range(self.shares, rows + 1, self.shares) if rows % g == 0]
            near = min(fitting, key=lambda g: abs(g - groups), default=0)
            remedy = f"use 'groups({near})'" if near else "choose another config.batch_size"
            raise UserError(
                f"config.parallel.batch_norm is {setting!r}, but {rows} pictures on {self.shares} device(s) can't be "
                f"cut into {groups} groups, as many on each device; {remedy}."
            )
        own = groups if self.axis_name is None else groups // self.size
        return own if own > 1 else None

    def aimed(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """`fn` that is told, while it is traced, which devices it is for (`target`)."""

        @functools.wraps(fn)
        def traced(*args, **kwargs):
            token = _TARGET.set(Target(self.platform, self.size))
            try:
                return fn(*args, **kwargs)
            finally:
                _TARGET.reset(token)

        return traced

    def compile(
        self,
        fn: Callable[..., Any],
        in_axes: Sequence[int | str | None],
        *,
        out_axes: tuple[str | None, ...] | None = None,
        donate: Sequence[int] = (),
    ) -> Callable[..., Any]:
        """`fn`, a pure function of arrays, compiled for all devices; what it returns is replicated, but for a state.
        The numbers of the recipe in it are no part of the program (hyperparameters).

        Args:
          in_axes: for each argument the axis along which it is split over devices, or None for a replicated one, or
            STATE for a state, at most one.
          out_axes: of a function that returns a state among others, as (STATE, None).
          donate: positions of arguments whose memory the result may take.
        """
        axes, donate = (None, *in_axes), tuple(i + 1 for i in donate)  # the first argument: the numbers
        if self.mode == "pmap":
            split = tuple(0 if isinstance(a, int) else None for a in axes)
            options: dict[str, Any] = {"in_axes": split, "out_axes": None}
            compiled = functools.partial(jax.pmap, axis_name=AXIS, devices=self._pmap_devices(), **options)
            return self._hoisted(compiled, fn, donate)
        if not self.rules or STATE not in axes:
            return self._hoisted(self._jit(axes, None, self.replicated), fn, donate)

        def late(*args):
            states = self.sharding(args[in_axes.index(STATE)])
            out = tuple(states if a == STATE else self.replicated for a in out_axes) if out_axes else self.replicated
            return self._hoisted(self._jit(axes, states, out), fn, donate)

        return _Late(late)

    def _jit(self, axes, states, out):
        """jax.jit that is told where arguments and results lie."""
        known = {None: self.replicated, STATE: states or self.replicated}
        places = tuple(self._split(a) if isinstance(a, int) else known[a] for a in axes)
        return functools.partial(jax.jit, in_shardings=places, out_shardings=out)

    def _hoisted(self, compiled, fn, donate):
        return Hoisted(functools.partial(compiled, donate_argnums=donate), self.aimed(fn), self.replicate)

    def _pmap_devices(self):
        return None if len(self.devices) == jax.device_count() else self.devices


class _Late:
    """A function that is compiled when its arguments are known, which say where a state lies."""

    def __init__(self, build: Callable[..., Callable[..., Any]]):
        self.build, self.made = build, None

    def _of(self, args):
        self.made = self.made or self.build(*args)
        return self.made

    def __call__(self, *args: Any) -> Any:
        return self._of(args)(*args)

    def lower(self, *args: Any) -> Any:
        """JAX's `Lowered` (hyperparameters.Hoisted)."""
        return self._of(args).lower(*args)
