"""Measures the forms of convolutions and max pools that jaxcls takes on the CPU, XLA's own, and PyTorch's if installed.

    taskset -c 0 python scripts/bench/convolve.py

For each case the forward pass, the gradient of the pictures and that of the kernel, one after the other, in ms of
processor time: the least of --rounds, the contenders in turns. The forms are those of jaxcls/models/layers/convolve.py
and pool.py.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcls.cli.entry import entry_point
from jaxcls.models.layers.convolve import DIMENSIONS, convolve, plain
from jaxcls.models.layers.pool import max_pool

# Name: batch, side, channels, features, kernel, stride, groups.
CASES = {
    "1x1, 64 to 256": (8, 56, 64, 256, 1, 1, 1),
    "1x1 of stride 2, 256 to 512": (8, 56, 256, 512, 1, 2, 1),
    "3x3, 64": (8, 56, 64, 64, 3, 1, 1),
    "3x3 in 32 groups, 128": (8, 56, 128, 128, 3, 1, 32),
    "3x3 depthwise of stride 2, 96": (8, 112, 96, 96, 3, 2, 96),
    "5x5 depthwise, 240": (8, 28, 240, 240, 5, 1, 240),
    "7x7 depthwise, 96": (8, 56, 96, 96, 7, 1, 96),
    "3x3, 24 to 64, 128 pictures": (128, 31, 24, 64, 3, 1, 1),
    "3x3, 64 to 256, 128 pictures": (128, 15, 64, 256, 3, 1, 1),
    "3x3, 256, 128 pictures": (128, 7, 256, 256, 3, 1, 1),
}
# Of clips. Name: batch, frames, side, channels, features, kernel (time, height, width), strides.
CLIPS = {
    "r3d_18's stem, 3x7x7 of stride 1x2x2": (2, 8, 56, 3, 64, (3, 7, 7), (1, 2, 2)),
    "3x3x3, 16": (4, 8, 28, 16, 16, (3, 3, 3), (1, 1, 1)),
    "3x3x3, 64": (2, 8, 28, 64, 64, (3, 3, 3), (1, 1, 1)),
    "3x3x3 of stride 2, 64 to 128": (2, 8, 28, 64, 128, (3, 3, 3), (2, 2, 2)),
    "3x3x3, 256": (2, 4, 7, 256, 256, (3, 3, 3), (1, 1, 1)),
    "1x3x3, 64 to 144": (2, 8, 28, 64, 144, (1, 3, 3), (1, 1, 1)),
    "3x1x1, 144 to 64": (2, 8, 28, 144, 64, (3, 1, 1), (1, 1, 1)),
}
# Name: batch, side, channels, window, stride.
POOLS = {
    "max pool, ResNet's": (16, 114, 64, 3, 2),
    "max pool, 64 pictures": (64, 31, 64, 2, 2),
    "max pool, overlapping": (16, 29, 192, 3, 1),
    "max pool, VGG's": (16, 112, 64, 2, 2),
}
ALL = [*CASES, *CLIPS, *POOLS]


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s, after one to warm up")
    parser.add_argument("--case", choices=ALL, nargs="+", default=ALL, help="default: all")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    makers = {"XLA": (jax_calls(lax.conv_general_dilated), xla_pool), "jaxcls": (jax_calls(convolve), jax_pool)}
    try:
        makers["PyTorch"] = torch_calls(), torch_pool()
    except ImportError:
        print("PyTorch is not installed: no comparison with it\n", file=sys.stderr)
    names = [f"{name} {part}" for part in ("forward", "pictures", "kernel") for name in makers]
    if not args.json:
        print(f"| picture of side, case | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}", flush=True)
    cases = []
    for name in args.case:
        make = pool_calls if name in POOLS else clip_calls if name in CLIPS else convolution_calls
        calls, side = make(makers, name)
        times = measure(calls, args.rounds)
        cases.append({"case": name, "side": side, "ms": dict(zip(names, times, strict=False))})
        if not args.json:
            cells = [f"{t:.1f}" for t in times] + [""] * (len(names) - len(times))
            print(f"| {side}, {name} | {' | '.join(cells)} |", flush=True)
    if args.json:
        print(json.dumps({"jax": jax.__version__, "cases": cases}, indent=1))
    return 0


def convolution_calls(makers: dict[str, tuple[Any, Any]], name: str) -> tuple[list[list[Callable]], int]:
    """(for each contender [forward, gradient of the pictures, of the kernel], side of the pictures)."""
    batch, side, channels, features, size, stride, groups = CASES[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, side, side, channels)).astype(np.float32)
    kernel = rng.normal(size=(size, size, channels // groups, features)).astype(np.float32)
    strides, pads = (stride, stride), (size // 2, size // 2)
    return [make(x, kernel, strides, pads, groups) for make, _ in makers.values()], side


def clip_calls(makers: dict[str, tuple[Any, Any]], name: str) -> tuple[list[list[Callable]], int]:
    """As `convolution_calls`, of clips."""
    batch, frames, side, channels, features, window, strides = CLIPS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, frames, side, side, channels)).astype(np.float32)
    kernel = rng.normal(size=(*window, channels, features)).astype(np.float32)
    pads = tuple(k // 2 for k in window)
    return [make(x, kernel, strides, pads, 1) for make, _ in makers.values()], side


def pool_calls(makers: dict[str, tuple[Any, Any]], name: str) -> tuple[list[list[Callable]], int]:
    """(for each contender [forward, gradient of the pictures], side of the pictures)."""
    batch, side, channels, window, stride = POOLS[name]
    x = np.random.default_rng(0).normal(size=(batch, side, side, channels)).astype(np.float32)
    return [make(x, window, stride) for _, make in makers.values()], side


def measure(contenders: list[list[Callable]], rounds: int) -> list[float]:
    """ms of each part, in order; of each part all contenders."""
    calls = [parts[i] for i in range(len(contenders[0])) for parts in contenders]
    least = [float("inf")] * len(calls)
    for i in range(rounds + 1):
        for j, call in enumerate(calls):
            start = time.process_time()
            call()
            if i:
                least[j] = min(least[j], (time.process_time() - start) * 1e3)
    return least


def jax_calls(function: Callable) -> Callable:
    """A maker of the three calls, of JAX arrays and a convolution with the arguments that `nn.Conv` gives."""

    def make(x, kernel, strides, pads, groups):
        x, kernel = jnp.asarray(x), jnp.asarray(kernel)
        order = DIMENSIONS if x.ndim == 4 else ("NDHWC", "DHWIO", "NDHWC")
        layout = lax.conv_dimension_numbers(x.shape, kernel.shape, order)
        conv = partial(function, dimension_numbers=layout, feature_group_count=groups)

        def forward(x, kernel):
            return conv(x, kernel, strides, tuple((pad, pad) for pad in pads))

        grad = jnp.ones(jax.eval_shape(forward, x, kernel).shape)
        of_x = jax.jit(lambda x, kernel, grad: jax.vjp(lambda x: forward(x, kernel), x)[1](grad))
        of_kernel = jax.jit(lambda x, kernel, grad: jax.vjp(lambda kernel: forward(x, kernel), kernel)[1](grad))
        calls = (
            partial(jax.jit(forward), x, kernel),
            partial(of_x, x, kernel, grad),
            partial(of_kernel, x, kernel, grad),
        )
        return [lambda call=call: jax.block_until_ready(call()) for call in calls]

    return make


def jax_pool(x: np.ndarray, window: int, stride: int) -> list[Callable]:
    """The two calls of a max pool."""
    x, pool = jnp.asarray(x), partial(max_pool, window=window, stride=stride)
    grad = jnp.ones(jax.eval_shape(pool, x).shape)
    of_x = jax.jit(lambda x, grad: jax.vjp(pool, x)[1](grad)).lower(x, grad).compile()
    forward = jax.jit(pool).lower(x).compile()
    return [lambda call=call: jax.block_until_ready(call()) for call in (partial(forward, x), partial(of_x, x, grad))]


def xla_pool(x: np.ndarray, window: int, stride: int) -> list[Callable]:
    """The same by XLA's own pooling."""
    with plain():  # while it is compiled
        return jax_pool(x, window, stride)


def torch_pool() -> Callable:
    """A maker of the same in PyTorch, channels_last. ImportError where it is not installed."""
    import torch

    def make(x, window, stride):
        x = torch.from_numpy(x.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last).requires_grad_()
        forward = partial(torch.nn.functional.max_pool2d, x, window, stride)
        y = forward()
        grad = torch.ones_like(y)

        def without_graph():
            with torch.no_grad():
                forward()

        return [without_graph, partial(torch.autograd.grad, y, x, grad, retain_graph=True)]

    return make


def torch_calls() -> Callable:
    """The same in PyTorch, channels_last. ImportError where it is not installed."""
    import torch

    def make(x, kernel, strides, pads, groups):
        clips = x.ndim == 5
        last = {"memory_format": torch.channels_last_3d if clips else torch.channels_last}
        x = torch.from_numpy(np.moveaxis(x, -1, 1)).contiguous(**last).requires_grad_()
        kernel = torch.from_numpy(np.moveaxis(kernel, (-1, -2), (0, 1)).copy()).contiguous(**last).requires_grad_()
        conv = torch.nn.functional.conv3d if clips else torch.nn.functional.conv2d
        forward = partial(conv, x, kernel, stride=strides, padding=pads, groups=groups)
        y = forward()
        grad = torch.ones_like(y)

        def without_graph():
            with torch.no_grad():
                forward()

        return [
            without_graph,
            *(partial(torch.autograd.grad, y, what, grad, retain_graph=True) for what in (x, kernel)),
        ]

    return make


if __name__ == "__main__":
    raise SystemExit(main())
