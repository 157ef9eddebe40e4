"""All nets of a space in one set of weights, of which each step runs one: a supernet.

Weights are shared as in TuNAS (Bender et al. 2020, "Can weight sharing outperform random architecture search?", arXiv
2008.06120, "op collapsing"): a block has one kernel of the largest size, whose rim is masked for a smaller one, and one
expansion of the most channels, of which the first ones are kept; widths are masked likewise, and a block that is
skipped hands on its input. There is no control flow: a convolution inside a branch is many times slower on the CPU.

The norms take the statistics of the batch that they are given, in evaluation as well: running ones would be of a
mixture of nets that nobody asks for.
"""

from functools import partial
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax

from jaxcls import parallel
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.layers.convolve import convolve
from jaxcls.models.mbconv_net import ACTIVATIONS, SKIP, STEMS, starts
from jaxcls.nas.space import Block, Choice, Space
from jaxcls.types import PyTree

EPSILON = 1e-5  # of the norms, as `mbconv_net` has it


class Supernet(Classifier):
    """The nets of a space, by masks.

    `choice`: int [decisions], which of them; it may be traced. None: the largest. `mask`: float [n], 1 for the pictures
    that count in the norms' statistics, None for all. Otherwise as any model; `out` has the entries of `mbconv_net`.

    Fields:
      space: as `Space`, whose classes are `num_classes`.
    """

    space: Space
    head: ClassVar = ("classifier",)
    # why no checkpoint of it is a network by itself
    unanswerable: ClassVar = (
        "a supernet is no net by itself, and answers with the statistics of each batch; train the net that it chose "
        "(jaxcls nas writes found.py)"
    )

    @nn.compact
    def __call__(
        self, images: Array, *, train: bool = False, choice: Array | None = None, mask: Array | None = None
    ) -> Outputs:
        space = self.space
        chosen = jnp.asarray(largest(space) if choice is None else choice, jnp.int32)
        options, widths = space.taken([chosen[i] for i in range(len(space.sizes))])
        conv, act = partial(layers.conv, **self.dtypes), ACTIVATIONS[space.act]
        axis = self.axis_name if isinstance(self.axis_name, str) else None
        norm = partial(BatchStatistics, axis_name=axis, mask=mask)
        step = partial(layers.conv_norm, conv=conv, norm=norm)
        block = partial(self.rematerialised(MaskedBlock), conv=conv, norm=norm, act=act)
        x = act(step(images, space.first, 3, STEMS[space.stem], name="features.0"))
        begins = starts(space.blocks(largest(space)))
        seen: tuple[int, ...] = (space.first,)
        out, part, before = {}, "stem", 0
        for place in space.blocks_of:
            if place.number + 1 in begins:
                out[part] = x
                part = f"stage{len(out)}"
            own, now = space.stages[place.stage].widths, widths[place.stage]
            made = block(place, seen, own, name=f"features.{place.number + 1}")
            x, seen, before = made(x, options[place.number], before, now), own, now
        if space.last:
            x = act(step(x, space.last, 1, name=f"features.{len(space.blocks_of) + 1}"))
        out[part] = x
        out["pre_logits"] = layers.global_mean(x)
        inits: dict[str, Any] = {"kernel_init": nn.initializers.normal(0.01), "bias_init": nn.initializers.zeros}
        return self.classify(out["pre_logits"], "classifier", train=train, **inits), out


class MaskedBlock(nn.Module):
    """An inverted residual with all options of a place, by masks.

    Called with (x `[b, h, w, most channels before]`, which option, which width before, which width); what is beyond the
    chosen width of x is zero, and so it is in what is returned.
    """

    place: Block
    seen: tuple[int, ...]
    own: tuple[int, ...]
    conv: Any
    norm: Any
    act: Any

    @nn.compact
    def __call__(self, x: Array, option: Any, before: Any, now: Any) -> Array:
        step = partial(layers.conv_norm, conv=self.conv, norm=self.norm)
        whole = whole_options(self.place)
        kernel, expansion = (max(values) for values in zip(*whole, strict=True))
        expanded, widths = expansion * x.shape[-1], jnp.asarray(self.own)
        kept = _first(jnp.asarray(np.outer([e for _, e in whole], self.seen))[option, before], expanded, x.dtype)
        y = _fitted(x, expanded)
        if expansion > 1:
            grown = self.act(step(x, expanded, 1, name="expand"))
            y = jnp.where(jnp.asarray([e == 1 for _, e in whole])[option], y, grown) * kept
        rim = jnp.asarray(np.stack([_square(k, kernel) for k, _ in whole]), jnp.float32)[option]
        masked = lambda x, w, *args, **kwargs: convolve(x, w * rim.astype(w.dtype), *args, **kwargs)  # noqa: E731
        depthwise = self.conv(expanded, kernel, self.place.stride, groups=expanded, convolve=masked, name="depthwise.0")
        y = self.act(self.norm(name="depthwise.1")(depthwise(y))) * kept
        y = step(y, max(self.own), 1, name="project") * _first(widths[now], max(self.own), x.dtype)
        if self.place.stride > 1:
            return y
        same, x = jnp.asarray(self.seen)[before] == widths[now], _fitted(x, max(self.own))
        skipped = jnp.asarray([each == SKIP for each in self.place.options])[option]
        return jnp.where(skipped, x, jnp.where(same, x + y, y))


class BatchStatistics(nn.Module):
    """BatchNorm that always takes the statistics of its batch, float32, and keeps none.

    `mask`: float [n], of the pictures that count; `axis_name` as `layers.batch_norm` has it, but for groups.
    """

    axis_name: str | None = None
    mask: Array | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        axis = None if self.is_initializing() else self.axis_name
        wide = x.astype(jnp.float32)
        weight = jnp.ones(len(x)) if self.mask is None else self.mask
        weight = weight.reshape(-1, *[1] * (x.ndim - 1))
        count = jnp.maximum(parallel.psum(jnp.sum(weight), axis), 1.0) * np.prod(x.shape[1:-1])
        axes = tuple(range(x.ndim - 1))
        mean = parallel.psum(jnp.sum(weight * wide, axes), axis) / count
        square = parallel.psum(jnp.sum(weight * jnp.square(wide), axes), axis) / count
        var = jnp.maximum(0.0, square - jnp.square(mean))
        return ((wide - mean) * (lax.rsqrt(var + EPSILON) * scale) + bias).astype(x.dtype)


def largest(space: Space) -> Choice:
    """The choice with all on: the largest kernel and expansion of each block, the largest width of each stage."""
    taken = []
    for decision in space.decisions:
        if decision.kind == "width":
            taken.append(int(np.argmax(decision.options)))
        else:
            real = [option for option in decision.options if option != SKIP]
            taken.append(decision.options.index(tuple(max(values) for values in zip(*real, strict=True))))
    return tuple(taken)


def whole_options(place: Block) -> list[tuple[int, int]]:
    """(kernel, expansion) of each option of a place; what is skipped counts as the largest."""
    real = cast(list[tuple[int, int]], [option for option in place.options if option != SKIP])
    most = (max(kernel for kernel, _ in real), max(expansion for _, expansion in real))
    return [most if option == SKIP else cast(tuple[int, int], option) for option in place.options]


def inherited(space: Space, params: PyTree, choice: Choice) -> dict[str, Any]:
    """The parameters of the `mbconv_net` of a choice, cut out of a supernet's: nested dicts of arrays."""
    options, widths = space.taken(space.check(choice))
    cut: dict[str, Any] = {name: jax.tree.map(jnp.asarray, params[name]) for name in ("features.0.0", "features.0.1")}
    channels = space.first
    for place in space.blocks_of:
        option, width = place.options[options[place.number]], space.stages[place.stage].widths[widths[place.stage]]
        if option != SKIP:
            name = f"features.{place.number + 1}"
            kernel, expansion = cast(tuple[int, int], option)
            cut[name] = _cut_block(params[name], kernel, expansion, channels, width)
            channels = width
    last = f"features.{len(space.blocks_of) + 1}"
    if space.last:
        cut[f"{last}.0"] = {"kernel": params[f"{last}.0"]["kernel"][:, :, :channels]}
        cut[f"{last}.1"] = dict(params[f"{last}.1"])
    if "classifier" in params:
        kernel = params["classifier"]["kernel"]
        cut["classifier"] = {**params["classifier"], "kernel": kernel if space.last else kernel[:channels]}
    return cut


def _cut_block(block, kernel, expansion, channels, width):
    expanded = channels * expansion
    steps = []  # kernel, norm and number of kept features of each step
    if expansion > 1:
        steps.append((block["expand.0"]["kernel"][:, :, :channels], "expand.1", expanded))
    whole = block["depthwise.0"]["kernel"]
    rim = (whole.shape[0] - kernel) // 2
    steps.append((whole[rim : rim + kernel, rim : rim + kernel], "depthwise.1", expanded))
    steps.append((block["project.0"]["kernel"][:, :, :expanded], "project.1", width))
    cut = {}
    for n, (weights, norm, kept) in enumerate(steps):
        cut[f"block.{n}.0"] = {"kernel": weights[..., :kept]}
        cut[f"block.{n}.1"] = {name: values[:kept] for name, values in block[norm].items()}
    return cut


def _square(inner, outer):
    """[outer, outer, 1, 1]: ones in the middle `inner` rows and columns."""
    rim = (outer - inner) // 2
    return np.pad(np.ones((inner, inner)), rim)[:, :, None, None]


def _first(kept, size, dtype):
    """1 for the first `kept` of `size` channels."""
    return (jnp.arange(size) < kept).astype(dtype)


def _fitted(x, channels):
    """The first channels of an array, with zeros behind them where it has fewer."""
    more = channels - x.shape[-1]
    return jnp.pad(x, (*[(0, 0)] * (x.ndim - 1), (0, more))) if more > 0 else x[..., :channels]
