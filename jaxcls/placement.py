"""Where the arrays of a run lie: a state whole or cut by rules (sharding.py), batches split over devices."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxcls import pytree, sharding
from jaxcls.types import PyTree

AXIS = sharding.DATA


class Placement:
    """Moves arrays to the devices of a run and back.

    Args:
      mode: "jit" or "pmap".
      devices: of all processes.
      shape: axis of the mesh -> how many devices lie along it.
      rules: by which the arrays of a state are cut (sharding.py); () where every device has all of them.

    Attributes: these, and `mesh`; `replicated`, where every device has all of an array; `shares`, in how many parts a
    batch is cut.
    """

    def __init__(self, mode: str, devices: Sequence[Any], shape: dict[str, int], rules: Sequence[sharding.Rule] = ()):
        self.mode, self.devices, self.shape, self.rules = mode, list(devices), shape, tuple(rules)
        self.mesh = Mesh(np.array(self.devices).reshape(tuple(shape.values())), tuple(shape))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self._cut = sharding.cutting(shape)
        self.shares = math.prod(shape[axis] for axis in self._cut)
        if self.shares < len(self.devices):
            sharding.check_rows(shape, self._processes())

    def sharding(self, tree: PyTree) -> PyTree:
        """A NamedSharding for every leaf of a state (arrays or shapes): by the rules of its parameters."""
        specs = sharding.axes(tree, self.rules, self.shape).values()
        places = [NamedSharding(self.mesh, PartitionSpec(*axes)) for axes in specs]
        return jax.tree.unflatten(jax.tree.structure(tree), places)

    @property
    def local(self) -> list[Any]:
        """The devices of this process; of others nobody here knows the memory."""
        return [device for device in self.devices if device.process_index == jax.process_index()]

    @property
    def places(self) -> Callable[[PyTree], PyTree] | None:
        """Where the arrays of a checkpoint are read to: `sharding` where a state is cut, else a device of this process;
        None for host arrays, where several processes have it whole."""
        if self.rules:
            return self.sharding
        first = SingleDeviceSharding(self.devices[0])
        return None if jax.process_count() > 1 else functools.partial(jax.tree.map, lambda _: first)

    @property
    def gathered(self) -> Callable[[PyTree], PyTree] | None:
        """For use while a function is traced: parameters -> the same, whole along the axis "data"; their gradients lie
        as they do. None where no state is cut."""
        return self._gather if self.rules else None

    def _gather(self, params):
        def whole(place):
            return NamedSharding(self.mesh, PartitionSpec(*(None if a == sharding.DATA else a for a in place.spec)))

        places = self.sharding({"params": params})["params"]
        return jax.tree.map(lambda x, place: _laid(x, whole(place), place), params, places)

    def bytes_per_device(self, tree: PyTree) -> int:
        """What the leaves of a state (arrays or shapes) take on each device."""
        shares = jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(place.shard_shape(x.shape), x.dtype), tree, self.sharding(tree)
        )
        return pytree.nbytes(shares)

    def place(self, tree: PyTree) -> PyTree:
        """A state on the devices, cut by the rules; of host arrays, which every process must have whole, or of arrays
        that lie on devices already, which may be those of the result."""
        return jax.tree.map(self._put, tree, self.sharding(tree)) if self.rules else self.replicate(tree)

    def _put(self, x, place):
        if isinstance(x, jax.Array) and (x.sharding.device_set == place.device_set or jax.process_count() == 1):
            return jax.device_put(x, place)
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, place, lambda index: x[index])

    def host(self, tree: PyTree) -> PyTree:
        """Host arrays of arrays on the devices. Where they are cut, every process must ask for them."""
        if self.rules and jax.process_count() > 1:
            from jax.experimental import multihost_utils

            return jax.tree.map(lambda x: multihost_utils.process_allgather(x, tiled=True), tree)
        return jax.device_get(tree)

    def replicate(self, tree: PyTree) -> PyTree:
        """Copies of host arrays on every device. Every process must hold the same values. Arrays of a device may be
        those of the result."""

        def put(x):
            if isinstance(x, jax.Array) and jax.process_count() == 1:
                return jax.device_put(x, self.replicated)
            return jax.make_array_from_process_local_data(self.replicated, np.asarray(x))

        return jax.tree.map(put, tree)

    def saveable(self, tree: PyTree) -> PyTree:
        """A state as Orbax takes it: global arrays, which pmap's results are not with several processes."""
        if self.mode == "pmap" and jax.process_count() > 1:
            return self.replicate(jax.device_get(tree))
        return tree

    def split(self, tree: PyTree, axis: int = 0) -> PyTree:
        """Host arrays, this process's rows along `axis`, as the global batch over all devices.

        In pmap mode the result has a leading axis of this process's devices, as pmap wants it.
        """
        if self.mode == "jit":
            sharding = self._split(axis)
            if jax.process_count() == 1:
                return jax.device_put(tree, sharding)
            return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)
        devices = self.local
        mesh = Mesh(np.array(devices), (AXIS,))

        def put(x):
            parts = np.stack(np.split(np.asarray(x), len(devices), axis=axis))
            return jax.device_put(parts, NamedSharding(mesh, PartitionSpec(AXIS)))

        return jax.tree.map(put, tree)

    def local_rows(self, n: int) -> slice:
        """The slice of a global batch of n rows that this process provides."""
        if self.shares == len(self.devices):
            share, first = n // jax.process_count(), jax.process_index()
            return slice(first * share, (first + 1) * share)
        share, own = n // self.shares, sharding.shares_of(self.shape, self._processes(), jax.process_index())
        return slice(min(own) * share, (max(own) + 1) * share)

    def _processes(self):
        return [device.process_index for device in self.devices]

    def _split(self, axis):
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, self._cut if len(self._cut) > 1 else AXIS))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _laid(x, place, gradient):
    """x laid as `place` says, whose gradient is laid as `gradient` does."""
    del gradient
    return jax.lax.with_sharding_constraint(x, place)


def _laid_back(place, gradient, _, g):
    """Summed first, then cut: XLA makes one operation of the two. Cut at once, it goes from device to device with parts
    of products, and copies activations for it."""
    return (jax.lax.with_sharding_constraint(jax.lax.with_sharding_constraint(g, place), gradient),)


_laid.defvjp(lambda x, place, gradient: (_laid(x, place, gradient), None), _laid_back)
