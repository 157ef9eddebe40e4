"""Test-time augmentation: a prediction is the weighted mean over several views of a picture.

A setting such as `("shift(1)", "flip")` lists transforms in the order in which they are applied. Each makes several
pictures of one, and the views are all combinations: 3 x 2 here, with the products of their weights.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxcls import call_strings
from jaxcls.errors import UserError
from jaxcls.state import TrainState
from jaxcls.tasks.base import SIGMOID, SOFTMAX, Task, Wrapper
from jaxcls.types import Batch, PyTree

MEANS = ("logits", "probabilities")
Alternatives = list[tuple[int, Callable[[Array], Array]]]  # (weight, pictures -> pictures)
PART = 7 / 8  # of the sides of a picture that a crop covers: 224 of 256 pixels


class Tta(Wrapper):
    """Predicts the mean over views of each picture; training stays as it is.

    The views run through the net one after the other, in a loop that is compiled once: it takes the memory of one view,
    but for the pictures themselves. The mean of logits (as Jordan 2024 has it, and most code for ten crops) is the
    logarithm of the probabilities' geometric mean, up to a constant; that of probabilities (Krizhevsky et al. 2012,
    section 4.1) gives a single doubtful view less weight. Both are returned as logits, so whatever follows is the same.

    Args:
      inner: the task; pictures are as its model sees them.
      specs: the setting, see `views`.
      mean: "logits", or "probabilities" for logits whose softmax (or sigmoid) is the mean of the views'.

    Raises:
      UserError: for a setting that cannot be read.
    """

    def __init__(self, inner: Task, specs: Sequence[str], mean: str = "logits"):
        super().__init__(inner)
        if mean not in MEANS:
            raise UserError(f"config.eval.tta_mean is {mean!r}; it can be {' or '.join(MEANS)}.")
        self.views, self.mean = tuple(specs), mean
        _, self.cut = views(specs)

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """The inner task's, on the first view: crops may be smaller than the pictures."""
        first = jax.eval_shape(self.cut, batch["image"]).shape[1:]
        return self.inner.init(rng, {**batch, "image": jnp.zeros(first, batch["image"].dtype)}, weights)

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """The inner task's, with the mean of the logits; whatever else it predicts is that of the first view.

        Raises:
          UserError: where the inner task predicts no logits.
        """
        answer = lambda image: self.inner.predict(state, {**batch, "image": image})  # noqa: E731
        return averaged(answer, batch["image"], self.views, self.mean, self.output)


def averaged(
    answer: Callable[[Array], dict[str, Array]],
    images: Float[Array, "n h w c"],
    specs: Sequence[str],
    mean: str,
    output: str = SOFTMAX,
) -> dict[str, Array]:
    """What `answer` says about pictures, its logits averaged over the views of a setting (see Tta); without views as
    it is. `output`: what the answer means (tasks.base).

    Raises:
      UserError: where there are no logits.
    """
    if not specs:
        return answer(images)
    share, cut = views(specs)
    out = jax.lax.map(answer, cut(images))
    if "logits" not in out:
        raise UserError("config.eval.tta has no effect: this task predicts no classes; remove it.")
    logits, weights = out["logits"], jnp.asarray(share)[:, None, None]
    if mean == "probabilities":
        total = of_mean_probabilities(logits, weights, output)
    else:
        total = jnp.sum(weights * logits, axis=0)
    return {**{name: value[0] for name, value in out.items()}, "logits": total}


def of_mean_probabilities(
    logits: Float[Array, "k n d"], weights: Float[Array, "k 1 1"], output: str
) -> Float[Array, "n d"]:
    """Logits whose softmax (sigmoid, where that is what they mean) is the weighted mean over k of theirs; weights add
    up to 1."""
    if output == SIGMOID:
        yes, no = (jax.nn.logsumexp(jax.nn.log_sigmoid(x), axis=0, b=weights) for x in (logits, -logits))
        return yes - no
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0, b=weights)


def views(
    specs: Sequence[str],
) -> tuple[Float[np.ndarray, " k"], Callable[[Float[Array, "n h w c"]], Float[Array, "k n h2 w2 c"]]]:
    """(weights that add up to 1, pictures -> their views) of a setting.

    Raises:
      UserError: for a setting that cannot be read.
    """
    weights, chains = [], []
    for combination in itertools.product(*(_alternatives(spec) for spec in specs)):
        weights.append(math.prod(weight for weight, _ in combination))
        chains.append([make for _, make in combination])

    def cut(images):
        if images.ndim not in (4, 5):
            raise UserError(
                "config.eval.tta takes pictures [n, h, w, c], or clips [n, t, h, w, c], not arrays of shape "
                f"{images.shape}."
            )
        cut_views = []
        for chain in chains:
            view = images
            for make in chain:
                view = make(view) if view.ndim == 4 or isinstance(make, _Clip) else _by_frame(make, view)
            cut_views.append(view)
        return jnp.stack(cut_views)

    return np.array(weights, np.float32) / np.float32(sum(weights)), cut


def flip() -> Alternatives:
    """The picture and its mirror image, left and right."""
    return [(1, _same), (1, lambda x: x[:, :, ::-1])]


def vflip() -> Alternatives:
    """The picture and the picture upside down, mirrored."""
    return [(1, _same), (1, lambda x: x[:, ::-1])]


def turns() -> Alternatives:
    """The four quarter turns of a square picture."""

    def turned(k):
        def make(x):
            if x.shape[1] != x.shape[2]:
                raise UserError(f"config.eval.tta: turns need square pictures, not {x.shape[1]}x{x.shape[2]}")
            return jnp.rot90(x, k, axes=(1, 2))

        return make

    return [(1, turned(k)) for k in range(4)]


def shift(pixels: int = 1) -> Alternatives:
    """The picture, and moved by so many pixels up and left, and down and right; what is missing is mirrored.

    The picture counts half and the others a quarter (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", section 3.5).
    """
    pixels = _whole("shift", pixels)

    def moved(start):
        def make(x):
            _, height, width, _ = x.shape
            if pixels >= min(height, width):
                raise UserError(f"config.eval.tta: shift({pixels}) is too far for pictures of {height}x{width}")
            x = jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")
            return x[:, start : start + height, start : start + width]

        return make

    return [(2, _same), (1, moved(2 * pixels)), (1, moved(0))]


def scales(*factors: float) -> Alternatives:
    """The picture, and enlarged by each factor about its centre, at the size it has: all count the same.

    What then lies outside is cut off, what is missing for a factor below 1 is mirrored. Resampled with an antialiased
    bilinear filter, as evaluation has it.
    """
    bad = [f for f in factors if isinstance(f, bool) or not isinstance(f, (int, float)) or not 0.5 <= f <= 2]
    if bad or not factors:
        raise ValueError(f"scales are numbers from 0.5 to 2, not {bad or 'none'}")
    return [(1, _same), *[(1, lambda x, factor=factor: _zoomed(x, factor)) for factor in factors]]


def crops(n: int = 5, size: int = 0) -> Alternatives:
    """Five crops, of the corners and the centre, in place of the picture: all count the same.

    Args:
      n: 5. Ten with the mirror images is `crops(5)` with `flip`.
      size: side of the crops in pixels, which is what the net then sees; 0: crops of 7/8 of each side, enlarged to the
        size of the picture, so that any net takes them.
    """
    if n != 5 or isinstance(n, bool):
        raise ValueError(f"there are 5 crops; ten are 'crops(5)' and 'flip', not {n!r}")
    side = _whole("size", size, least=0)

    def at(down, right):
        def make(x):
            n, height, width, channels = x.shape
            h, w = (side, side) if side else (round(PART * height), round(PART * width))
            if h > height or w > width:
                raise UserError(
                    f"config.eval.tta: crops of {h}x{w} do not fit into {height}x{width}; make "
                    "config.data.eval_transform leave larger pictures."
                )
            top, left = round(down * (height - h)), round(right * (width - w))
            cut = x[:, top : top + h, left : left + w]
            return cut if side else jax.image.resize(cut, (n, height, width, channels), "linear").astype(x.dtype)

        return make

    return [(1, at(*place)) for place in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1))]


def clips(n: int) -> Alternatives:
    """The n clips of a video that stand one behind the other, as `frames(16, clips=n)` of config.data.eval_transform
    takes them: all count the same."""
    n = _whole("clips", n)
    return [(1, _Clip(i, n)) for i in range(n)]


@dataclasses.dataclass(frozen=True)
class _Clip:
    """Part `i` of `n` of clips [b, t, h, w, c], along t."""

    i: int
    n: int

    def __call__(self, x: Array) -> Array:
        if x.ndim != 5 or x.shape[1] % self.n:
            raise UserError(
                f"config.eval.tta: clips({self.n}) takes clips of {self.n} x t frames, not arrays of shape {x.shape}; "
                f"let config.data.eval_transform begin with 'frames(16, clips={self.n})'."
            )
        t = x.shape[1] // self.n
        return x[:, self.i * t : (self.i + 1) * t]


def _by_frame(make, clips):
    """What `make` does with pictures, done with each frame of clips [n, t, h, w, c]."""
    n, t = clips.shape[:2]
    made = make(clips.reshape(n * t, *clips.shape[2:]))
    return made.reshape(n, t, *made.shape[1:])


def clips_of(specs: Sequence[str]) -> int:
    """How many clips of a video a setting averages over; 1 without. Raises UserError for one that can't be read."""
    found = [make.n for spec in specs for _, make in _alternatives(spec)[:1] if isinstance(make, _Clip)]
    return math.prod(found)


KINDS = {"clips": clips, "flip": flip, "vflip": vflip, "turns": turns, "shift": shift, "scales": scales, "crops": crops}


def suffix(used: Sequence[str], own: Sequence[str], mean: str = "logits", own_mean: str = "logits") -> str:
    """What the name of a file of predictions gets: "" for the run's own setting, "-tta" or "-plain" for another one.

    The mean is a part of the setting where there are views.
    """
    if tuple(used) == tuple(own) and (mean == own_mean or not used):
        return ""
    return "-tta" if used else "-plain"


def _same(images):
    return images


def _zoomed(images, factor):
    n, height, width, channels = images.shape
    h, w = max(1, round(factor * height)), max(1, round(factor * width))
    x = jax.image.resize(images, (n, h, w, channels), "linear", antialias=True).astype(images.dtype)
    if factor < 1:
        room = [(0, 0), *((r // 2, r - r // 2) for r in (height - h, width - w)), (0, 0)]
        return jnp.pad(x, room, mode="reflect" if min(h, w) > 1 else "edge")
    top, left = (h - height) // 2, (w - width) // 2
    return x[:, top : top + height, left : left + width]


def _whole(what, value, least=1):
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{what} must be a whole number of at least {least}, not {value!r}")
    return value


def _alternatives(spec):
    """[(weight, images -> images)] of one entry such as "shift(1)"."""
    what = "config.eval.tta"
    name, args, options = call_strings.parse(spec, KINDS, what=what, kind="view", like="'flip' or 'shift(1)'")
    with call_strings.fitting(name, what):
        return KINDS[name](*args, **options)
