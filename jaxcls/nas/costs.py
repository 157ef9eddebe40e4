"""What the nets of a space cost, as tables: a sum of one entry a block, so it can be asked within a compiled step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxcls.errors import UserError
from jaxcls.models.mbconv_net import SKIP, STEMS
from jaxcls.nas.space import Space, block_count

COUNTED = ("macs", "params")  # by closed forms; "latency" is measured (jaxcls.nas.latency)

# (height, width, channels that it sees, (kernel, expansion, width, stride)) -> cost of a block
OfBlock = Callable[[int, int, int, tuple[int, int, int, int]], float]


class Tables(NamedTuple):
    """A cost of every net of a space.

    Attributes:
      blocks: for each place of the chain [options, widths of the stage before, widths of its own]; for those that are
        not the first of their stage both widths are the stage's own.
      ends: [widths of the last stage]: first convolution, last one and classifier.
    """

    blocks: tuple[np.ndarray, ...]
    ends: np.ndarray


def counted(space: Space, cost: str) -> Tables:
    """The tables of "macs" or "params": their sums are what `models.summary` counts of the net."""
    which = COUNTED.index(cost)
    return made(space, lambda *block: block_count(*block)[which], lambda width: _ends(space, width)[which])


def made(space: Space, of_block: OfBlock, of_ends: Callable[[int], float]) -> Tables:
    """Tables from the cost of each block, and of the ends of a net whose last stage has a width."""
    stride = STEMS[space.stem]
    sides = [-(-side // stride) for side in space.picture[:2]]
    tables, stage = [], -1
    before: tuple[int, ...] = (space.first,)
    for block in space.blocks_of:
        own = space.stages[block.stage].widths
        if block.stage != stage and stage >= 0:
            before = space.stages[stage].widths
        first, stage = block.stage != stage, block.stage
        seen = before if first else own
        table = np.zeros((len(block.options), len(seen), len(own)))
        for o, i, j in np.ndindex(*table.shape):
            option = block.options[o]
            if option != SKIP and (first or i == j):  # else it is never asked
                table[o, i, j] = of_block(sides[0], sides[1], seen[i], (*option, own[j], block.stride))
        tables.append(table)
        sides = [-(-side // block.stride) for side in sides]
    return Tables(tuple(tables), np.array([of_ends(width) for width in space.stages[-1].widths], float))


def total(space: Space, tables: Tables, choice: Any) -> Any:
    """The cost of a choice; of a traced one (int [decisions]), a traced float32."""
    traced = not isinstance(choice, (tuple, list, np.ndarray))
    if traced:
        import jax.numpy as jnp  # only a training step traces

    options, widths = space.taken(tuple(choice) if not traced else [choice[i] for i in range(len(space.sizes))])
    cost: Any = 0.0
    for block, table in zip(space.blocks_of, tables.blocks, strict=True):
        own = widths[block.stage]
        seen = own if not _first(space, block.number) else widths[block.stage - 1] if block.stage else 0
        cost += (jnp.asarray(table, jnp.float32) if traced else table)[options[block.number], seen, own]
    return cost + (jnp.asarray(tables.ends, jnp.float32) if traced else tables.ends)[widths[-1]]


def span(space: Space, tables: Tables) -> tuple[float, float]:
    """(the least, the most) cost of a net of the space, exactly, without going through its nets."""
    return _best(space, tables, np.min), _best(space, tables, np.max)


def check_target(space: Space, tables: Tables, target: float, *, what: str, at_most: bool = False) -> None:
    """Raises UserError where no net of the space can have that cost (or, with `at_most`, costs no more).

    `what` says in the message which setting asks for it, and of what.
    """
    least, most = span(space, tables)
    if target < least or (target > most and not at_most):
        raise UserError(
            f"{what} is {target:,.6g}, and no net of the space meets it: they have {least:,.6g} to {most:,.6g}"
        )


def _best(space, tables, which):
    """Over the stages, the best cost so far for each width of the last one."""
    best = np.zeros(1)
    for block, table in zip(space.blocks_of, tables.blocks, strict=True):
        each = which(table, axis=0)
        best = which(best[:, None] + each, axis=0) if _first(space, block.number) else best + np.diagonal(each)
    return float(which(best + tables.ends))


def _first(space, number):
    places = space.blocks_of
    return number == 0 or places[number].stage != places[number - 1].stage


def _ends(space, width):
    """(multiply-adds, parameters) of all but the blocks, where the last of them has a width."""
    (h, w, channels), stride = space.picture, STEMS[space.stem]
    h, w = -(-h // stride), -(-w // stride)
    macs, params = h * w * 9 * channels * space.first, (9 * channels + 2) * space.first
    for block in space.blocks_of:
        h, w = -(-h // block.stride), -(-w // block.stride)
    if space.last:
        macs, params, width = macs + h * w * width * space.last, params + (width + 2) * space.last, space.last
    return macs + width * space.classes, params + (width + 1) * space.classes
