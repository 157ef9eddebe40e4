"""Where a net looks: Grad-CAM for nets with feature maps, attention rollout for vision transformers.

Both work on any model of the registry as it is. The maps are coarse (7x7 for most nets at 224 pixels) and say what
mattered to the score, not why; a map that lights up beside the object is a reason to look at the training pictures.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.extend import core

from jaxcls.errors import UserError
from jaxcls.models.base import Classifier
from jaxcls.types import PyTree

GRAD_CAM, ROLLOUT = "Grad-CAM", "attention rollout"
CHUNK = 16  # pictures at a time: a backward pass keeps much of the forward one


def method(model: nn.Module, picture: tuple[int, ...] | None = None) -> str | None:
    """ "Grad-CAM", "attention rollout", or None for a model that has neither feature maps nor attention.

    Args:
      picture: (height, width, channels) of its pictures, of clips (frames, ...); None for any that are large enough to
        leave a feature map of more than one place. Nothing is computed, but a trace takes up to two seconds.
    """
    if getattr(model, "inputs", ()):  # its answer is no function of the picture alone
        return None
    if _attends(model):
        return ROLLOUT
    if picture is None:
        return GRAD_CAM if isinstance(model, Classifier) else None
    image = jax.ShapeDtypeStruct((1, *picture), np.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    (_, out), _ = jax.eval_shape(lambda key, x: model.init_with_output(key, x, train=False), key, image)
    return GRAD_CAM if _last_map(model, out, image.shape) else None


def heatmaps(model: nn.Module, variables: PyTree, images: Array, classes: np.ndarray | None = None) -> np.ndarray:
    """What the score of a class rests on, picture by picture.

    Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391, section 3) on the last stage that is more than one place, or the
    attention rollout of vision transformers (Abnar and Zuidema 2020, arXiv 2005.00928, section 3) from what is
    classified (the class token, or all patches) to the patches, which is the same for every class. Each map is scaled
    by itself, then enlarged bilinearly, so maps tell of places, not of how sure the model is, and cannot be compared
    with each other.

    Args:
      images: float [n, h, w, c], normalised, as the model sees them; of clips [n, t, h, w, c], where Grad-CAM's map has
        times, too, and the means of the gradient go over them.
      classes: int [n], whose scores are explained; None for the class with the highest logit.

    Returns:
      float32 [n, h, w] (of clips [n, t, h, w]). Grad-CAM: from 0, what does not speak for the class, to 1, the place
      that speaks most for it; all 0 where no place does. Rollout: from 0, the place attended to least, to 1, the most;
      all 0 if all are equal.

    Raises:
      UserError: where the model has no map of more than one place for pictures of this size.
    """
    n, parts = len(images), []
    classes = np.full(n, -1, np.int32) if classes is None else np.asarray(classes, np.int32)
    size = min(n, CHUNK)
    for start in range(0, n, CHUNK):
        batch, wanted = (x[start : start + CHUNK] for x in (images, classes))
        short = [(0, size - len(wanted))]
        batch, wanted = jnp.pad(batch, short + [(0, 0)] * (batch.ndim - 1)), np.pad(wanted, short)
        parts.append(np.asarray(_compiled(model)(variables, batch, wanted))[: min(CHUNK, n - start)])
    return np.concatenate(parts) if parts else np.zeros(np.shape(images)[:-1], np.float32)


def _attends(model):
    """Whether it is a transformer that returns the weights of its attention over all tokens."""
    return hasattr(model, "return_attention")


@functools.lru_cache(maxsize=4)
def _compiled(model):
    method_maps = _rollout_maps if _attends(model) else _cam_maps

    def maps(variables, images, classes):
        coarse = method_maps(model, variables, images, classes)
        return jax.image.resize(coarse, images.shape[:-1], "linear").clip(0, 1)

    return jax.jit(maps)


def _cam_maps(model, variables, images, classes):
    """Equations 1 and 2, [n, rows, columns] or [n, times, rows, columns]; the sum over the channels is divided by its
    maximum."""
    values, gradient = map_and_gradient(model, variables, images, classes)
    places = tuple(range(1, values.ndim - 1))
    weights = gradient.mean(axis=places, keepdims=True)
    maps = jax.nn.relu((weights * values).sum(axis=-1))
    top = maps.max(axis=places, keepdims=True)
    return maps / jnp.where(top > 0, top, 1)


def map_and_gradient(model: nn.Module, variables: PyTree, images: Array, classes: Array) -> tuple[Array, Array]:
    """The feature map that Grad-CAM looks at, and the gradient of the score by it: both float32 [n, rows, columns, c],
    of clips [n, times, rows, columns, c].

    The score is the logit of a class (-1: of the highest), before the softmax. Tokens that are patches, such as a
    Mixer's, count as a map. For use inside a compiled function.

    Raises:
      UserError: as `heatmaps`.
    """
    features, head = _halves(model, variables, images)
    logits = head(features)
    classes = jnp.where(classes < 0, logits.argmax(axis=-1), classes)

    def score(features):
        return jnp.take_along_axis(head(features), classes[:, None], axis=-1).sum()  # examples do not mix

    gradient = jax.grad(score)(features)
    shape = _map_shape(model, features.shape, images.shape)
    return tuple(x.astype(jnp.float32).reshape(len(images), *shape, -1) for x in (features, gradient))


def rollout(attention: Sequence[Array]) -> Array:
    """[n, tokens, tokens] from the weights of each layer, [n, heads, tokens, tokens] from the first to the last.

    Row i says what share of token i, after the last layer, comes from each of the first ones: the product of the
    layers' matrices, each the mean over its heads and the identity (for the shortcut), half of each.
    """
    means = [weights.astype(jnp.float32).mean(axis=1) for weights in attention]
    layers = [0.5 * (mean + jnp.eye(mean.shape[-1])) for mean in means]
    return functools.reduce(lambda total, layer: layer @ total, layers)


def _rollout_maps(model, variables, images, classes):
    """[n, rows, columns], from what is classified: the class token (and the distillation token), or the patches."""
    del classes
    _, out = model.clone(return_attention=True).apply(variables, images, train=False)
    prefix = model.prefix_tokens
    classified = slice(0, 1 + getattr(model, "distilled", False)) if model.pool == "token" else slice(prefix, None)
    maps = rollout(out["attention"])[:, classified, prefix:].mean(axis=1)
    maps = maps.reshape(len(images), *_grid(model, images.shape))
    low, high = (reduce(maps, axis=(1, 2), keepdims=True) for reduce in (jnp.min, jnp.max))
    differ = high - low > 1e-6 * high  # what rounding leaves of equal values is no map
    return jnp.where(differ, (maps - low) / jnp.where(differ, high - low, 1), 0)


def _halves(model, variables, images):
    """(the feature map, a function from the map to the logits): the model's trace, cut at the map.

    The map becomes an argument in place of what computes it, wherever in the model that is. So no model has to be
    built for it, and a map that is no module's output (a pooling, say) is as good as one that is.
    """
    forward = lambda variables, images: model.apply(variables, images, train=False)  # noqa: E731
    closed, shapes = jax.make_jaxpr(forward, return_shape=True)(variables, images)
    key = _last_map(model, shapes[1], images.shape)
    if key is None:
        raise UserError(
            f"{type(model).__name__} leaves no map of more than one place of pictures of {images.shape[-3]}x"
            f"{images.shape[-2]}, so there are no heat maps; use larger pictures"
        )
    number = jax.tree.unflatten(jax.tree.structure(shapes), range(len(jax.tree.leaves(shapes))))
    leaves = jax.tree.leaves((variables, images))
    place = closed.jaxpr.outvars[number[1][key]]
    features = core.jaxpr_as_fun(closed)(*leaves)[number[1][key]]

    unused = core.Var(place.aval)
    equations = [
        eqn.replace(outvars=[unused if var is place else var for var in eqn.outvars]) for eqn in closed.jaxpr.eqns
    ]
    debug = closed.jaxpr.debug_info.with_unknown_names()
    invars = [*closed.jaxpr.invars, place]
    outvars = [closed.jaxpr.outvars[number[0]]]
    rest = core.ClosedJaxpr(
        closed.jaxpr.replace(invars=invars, outvars=outvars, eqns=equations, debug_info=debug), closed.consts
    )
    return features, lambda features: core.jaxpr_as_fun(rest)(*leaves, features)[0]


def _last_map(model, out, pictures):
    """The key of the last stage of more than one place; None where there is none."""
    stages = [key for key in out if key.startswith("stage") and key[5:].isdigit()]
    for key in sorted(stages, key=lambda key: -int(key[5:])):
        if math.prod(_map_shape(model, out[key].shape, pictures) or (0,)) > 1:
            return key
    return None


def _map_shape(model, shape, pictures):
    """(rows, columns) of a stage of this shape, of clips (times, rows, columns); None where it is no map."""
    if len(shape) == len(pictures) and shape[0] == pictures[0]:
        return shape[1:-1]
    if len(shape) == 3 and hasattr(model, "patch") and shape[1] == math.prod(_grid(model, pictures)):
        return _grid(model, pictures)
    return None


def _grid(model, pictures):
    """(rows, columns) of patches of pictures of shape [n, h, w, c]."""
    return pictures[1] // model.patch, pictures[2] // model.patch
