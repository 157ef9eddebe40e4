"""Learning rates by parameter name: multipliers, layer-wise decay, freezing."""

import re
from collections.abc import Callable, Iterable, Sequence

import jax
import optax
from flax import linen as nn
from jax import Array

from jaxcls import pytree
from jaxcls.hyperparameters import number
from jaxcls.types import PyTree

Factors = Callable[[PyTree], PyTree]  # parameters -> the factors of their learning rates


def by_name(multipliers: Iterable[tuple[str, float]], what: str = "config.optim.multipliers") -> Factors:
    """Learning rates times a factor, by regular expressions on the names of parameters.

    Of the (pattern, factor) pairs the first whose pattern is found counts; 1 where none is. `what`: how to call a
    pattern in a message. The function raises UserError if a pattern is found in no name.
    """
    multipliers = list(multipliers)

    def factors(params):
        pytree.require_matches(params, [pattern for pattern, _ in multipliers], what)

        def factor(name):
            found = (factor for pattern, factor in multipliers if re.search(pattern, name))
            return number(float(next(found, 1.0)), what)

        return _map_names(factor, params)

    return factors


def layerwise(order: Sequence[str], decay: float) -> Factors:
    """Learning rates that fall with the distance from the output: decay ** (layers above this one).

    The head has 1, the last block `decay` (such as 0.75), the one before it decay^2, ... (Clark et al., ELECTRA; BEiT
    and its successors for pictures). Parameters that are not the model's (a task's projections) have 1. `order`: see
    `call_order`.
    """
    numbers = layer_numbers(order)
    top = max(numbers.values())

    def factors(params):
        return _map_names(lambda name: decay ** (top - numbers.get(name, top)), params)

    return factors


def layer_numbers(order: Sequence[str]) -> dict[str, int]:
    """Parameter name -> number of its layer, 0 for the first.

    A layer is a module at the top of the model that has modules inside, a block. Plain layers and single parameters at
    the top, such as a stem's convolution and norm, class tokens and position embeddings, make up layer 0 as far as they
    come before the first block; between blocks they belong to the next block, and after the last block they are the
    head, which is the last layer. Where nothing has modules inside (VGG, LeNet), each plain layer with a matrix is a
    layer, with the norm that follows it. A patch merging or transition with norm and matrix counts as a block. The
    modules of a "backbone" count as the top. `order`: see `call_order`.
    """
    modules: dict[str, list[str]] = {}
    for name in order:
        modules.setdefault(_top(name), []).append(name)
    blocks = [top for top, names in modules.items() if any(name[len(top) + 1 :].count("/") for name in names)]
    plain = not blocks
    if plain:
        blocks = [top for top, names in modules.items() if any(name.endswith("kernel") for name in names)]
    numbers: dict[str, int] = {}
    number, left = 0, len(blocks)
    for top in modules:
        if top in blocks:
            number, left = number + bool(numbers), left - 1
        beside = top not in blocks and not plain and left < len(blocks)  # before the next block, or the head
        numbers[top] = number + beside
    return {name: numbers[top] for top, names in modules.items() for name in names}


def call_order(model: nn.Module, images: Array | jax.ShapeDtypeStruct) -> list[str]:
    """Names of the model's parameters in the order in which a forward pass comes to them.

    A tree of parameters has lost it: JAX sorts the keys of dicts. Nothing is computed. `images`: [b, h, w, c].
    """
    order: list[str] = []

    def init(x):
        variables = model.init(jax.random.key(0), x, train=False)
        order.extend(_nested_names(variables["params"]))
        return variables

    jax.eval_shape(init, images)
    return order


def freeze(tx: optax.GradientTransformation, patterns: Sequence[str]) -> optax.GradientTransformation:
    """The optimiser for all parameters but those whose names match, which stay as they are and have no state.

    Norms of gradients that clip are those of the others. BatchNorm's statistics are no parameters: the task keeps them.

    Raises:
      UserError: from `init`, if a pattern is found in no name.
    """

    def labels(params):
        pytree.require_matches(params, patterns, "config.optim.freeze")
        return jax.tree.map(lambda frozen: "frozen" if frozen else "trained", pytree.mask(params, patterns))

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)


def _map_names(function, tree):
    return jax.tree.unflatten(jax.tree.structure(tree), [function(name) for name in pytree.flatten_names(tree)])


def _top(name):
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] == "backbone" else parts[0]


def _nested_names(params, prefix=""):
    for key, value in params.items():
        if hasattr(value, "items"):
            yield from _nested_names(value, f"{prefix}{key}/")
        else:
            yield prefix + key
