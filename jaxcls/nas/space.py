"""The space of an architecture search: a chain of inverted residuals, each with its options.

A **choice** is a tuple of whole numbers, one for each decision of the space: which of its options is taken. A net is
what `Space.fields(choice)` makes of it: fields of the model `mbconv_net`.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jaxcls import call_strings
from jaxcls.errors import UserError
from jaxcls.models.mbconv_net import ACTIVATIONS, SKIP, STEMS

MODEL = "mbconv_net"
LIKE = "'mbconv(24, times=2, stride=2, kernels=(3, 5, 7), expansions=(1, 3, 6))' or 'mbconv((16, 24), skip=False)'"

Choice = tuple[int, ...]
Option = tuple[int, int] | str  # (kernel, expansion), or SKIP


class Stage(NamedTuple):
    """Blocks of one width, the first of which may halve the picture.

    Attributes:
      widths: of which one is taken for all blocks of the stage.
      times: number of blocks.
      stride: of the first block.
      kernels, expansions: each block takes one of each.
      skip: whether a block may be left away where it keeps its input's shape: every one but the first; that one, too,
        where its stride is 1 and it has the width before it and no other.
    """

    widths: tuple[int, ...]
    times: int = 1
    stride: int = 1
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (1, 3, 6)
    skip: bool = True


class Decision(NamedTuple):
    """One of the choices of a space. `kind`: "width" of stage `number`, or "block" `number`, both from 0 on.

    `options`: widths, or (kernel, expansion) of a block, "skip" last where it may be left away.
    """

    kind: str
    number: int
    options: tuple[Any, ...]

    @property
    def name(self) -> str:
        return f"{self.kind}{self.number + 1}"


class Block(NamedTuple):
    """A place in the chain: its number, its stage's, its stride and its options."""

    number: int
    stage: int
    stride: int
    options: tuple[Option, ...]


@dataclasses.dataclass(frozen=True)
class Space:
    """A chain of stages between a first convolution, a last one and the classifier.

    Attributes:
      stages: as `Stage`.
      first, last, stem, act: fields of `mbconv_net`.
      picture: (height, width, channels), for which multiply-adds are counted.
      classes: of the classifier, for the counts.

    Raises:
      UserError: where there is nothing to choose, or a stage cannot be.
    """

    stages: tuple[Stage, ...]
    first: int = 16
    last: int = 0
    stem: str = "cifar"
    act: str = "relu6"
    picture: tuple[int, int, int] = (28, 28, 1)
    classes: int = 10

    def __post_init__(self):
        if not self.stages:
            raise UserError(f"the space is empty: it has no stage; write stages like {LIKE}")
        for name, options in (("stem", STEMS), ("act", ACTIVATIONS)):
            if getattr(self, name) not in options:
                raise UserError(f"the space's {name} must be one of {', '.join(options)}, not {getattr(self, name)!r}")
        if not self.decisions:
            raise UserError(f"the space is empty: every block of it has one option; write stages like {LIKE}")

    @functools.cached_property
    def blocks_of(self) -> tuple[Block, ...]:
        """Every place of the chain, those without a choice included."""
        return tuple(_blocks(self.stages, self.first))

    @functools.cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """What is chosen: the width of a stage before its blocks; what has one option is no decision."""
        found: list[Decision] = []
        for block in self.blocks_of:
            widths = self.stages[block.stage].widths
            if not any(d.kind == "width" and d.number == block.stage for d in found) and len(widths) > 1:
                found.append(Decision("width", block.stage, widths))
            if len(block.options) > 1:
                found.append(Decision("block", block.number, block.options))
        return tuple(found)

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of options of each decision."""
        return tuple(len(decision.options) for decision in self.decisions)

    @property
    def size(self) -> int:
        """The number of choices. (Different ones may be the same net: which of two equal blocks is left away.)"""
        return math.prod(self.sizes)

    def check(self, choice: Sequence[int]) -> Choice:
        """The choice as a tuple of ints. Raises UserError for what is none of this space."""
        taken = tuple(map(int, choice))
        if len(taken) != len(self.sizes) or any(not 0 <= i < n for i, n in zip(taken, self.sizes, strict=True)):
            raise UserError(f"{list(taken)} is no choice of this space, which has {list(self.sizes)} options")
        return taken

    def blocks(self, choice: Sequence[int]) -> tuple[Any, ...]:
        """The field `blocks` of `mbconv_net`: (kernel, expansion, width, stride) or "skip" of each."""
        options, widths = self.taken(self.check(choice))
        made: list[Any] = []
        for block in self.blocks_of:
            option, width = block.options[options[block.number]], self.stages[block.stage].widths[widths[block.stage]]
            made.append(SKIP if option == SKIP else (*option, width, block.stride))
        return tuple(made)

    def taken(self, choice: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """(which option each block takes, which width each stage): 0 where there is one. Numbers may be traced."""
        by = dict(zip(((d.kind, d.number) for d in self.decisions), choice, strict=True))
        options = [by.get(("block", block.number), 0) for block in self.blocks_of]
        return options, [by.get(("width", s), 0) for s in range(len(self.stages))]

    def fields(self, choice: Sequence[int]) -> dict[str, Any]:
        """The fields of `mbconv_net` for a choice; without the number of classes."""
        return {**self.frame, "blocks": self.blocks(choice)}

    @property
    def frame(self) -> dict[str, Any]:
        """The fields of `mbconv_net` that all nets of the space share."""
        return {"first": self.first, "last": self.last, "stem": self.stem, "act": self.act}

    def choice(self, blocks: Sequence[Any]) -> Choice:
        """The choice whose `blocks` these are. Raises UserError where there is none.

        A stage of several widths all of whose blocks are skipped cannot be: its first one never is.
        """
        places = self.blocks_of
        taken = []
        for decision in self.decisions:
            at = [b for b in places if (b.stage if decision.kind == "width" else b.number) == decision.number][0]
            block = blocks[at.number] if at.number < len(blocks) else None
            block = tuple(block) if isinstance(block, (list, tuple)) else block
            part = block if block == SKIP else block and (block[2] if decision.kind == "width" else block[:2])
            if part not in decision.options:
                raise UserError(f"block {at.number + 1}, {block!r}, is none of this space's")
            taken.append(decision.options.index(part))
        if self.blocks(taken) != tuple(tuple(b) if isinstance(b, list) else b for b in blocks):
            raise UserError(f"{list(blocks)} is no net of this space")
        return tuple(taken)

    def macs(self, choice: Sequence[int]) -> int:
        """Multiply-adds of one picture, as `models.summary` counts them."""
        return count(self, self.blocks(choice))[0]

    def params(self, choice: Sequence[int]) -> int:
        """Parameters, as `models.summary` counts them."""
        return count(self, self.blocks(choice))[1]

    def describe(self, choice: Sequence[int]) -> str:
        """A choice in a line: "3x3 e6 w24 /2, skip, 7x7 e3 w24"."""
        return ", ".join(map(block_text, self.blocks(choice)))


def block_text(block: Any) -> str:
    """An entry of `mbconv_net.blocks` in words: "3x3 e6 w24 /2" (kernel, expansion, width, stride 2), or "skip"."""
    if block == SKIP:
        return SKIP
    kernel, expansion, width, stride = block
    return f"{kernel}x{kernel} e{expansion} w{width}" + (f" /{stride}" if stride > 1 else "")


def parse_stage(text: str) -> Stage:
    """The stage of a text such as "mbconv(24, times=2, stride=2)". Raises UserError for one that is none."""
    call = call_strings.parse(text, ["mbconv"], what="a stage of the space", kind="stage", like=LIKE)
    with call_strings.fitting("mbconv", f"the stage {text!r}"):
        stage = Stage(*call.args, **call.kwargs)
    stage = stage._replace(
        **{name: _several(getattr(stage, name)) for name in ("widths", "kernels", "expansions")},
    )
    for name in ("widths", "kernels", "expansions"):
        values = getattr(stage, name)
        if not values:
            raise UserError(f"the space is empty: the stage {text!r} has no {name}; write stages like {LIKE}")
        if any(not _whole(value) or value < 1 for value in values) or len(set(values)) < len(values):
            raise UserError(f"the stage {text!r}: {name} must be different whole numbers from 1 on, not {values}")
    if any(kernel % 2 == 0 for kernel in stage.kernels):
        raise UserError(f"the stage {text!r}: kernels must be odd, not {stage.kernels}")
    if not _whole(stage.times) or stage.times < 1:
        raise UserError(f"the stage {text!r}: times must be a whole number from 1 on, not {stage.times!r}")
    if stage.stride not in (1, 2) or not isinstance(stage.skip, bool):
        raise UserError(f"the stage {text!r}: stride must be 1 or 2 and skip True or False")
    return stage


def count(space: Space, blocks: Sequence[Any]) -> tuple[int, int]:
    """(multiply-adds, parameters) of `mbconv_net` with these blocks in the frame of a space, by closed forms."""
    (height, width, channels), first = space.picture, space.first
    stride = STEMS[space.stem]
    height, width = _halved(height, stride), _halved(width, stride)
    macs, params, c = height * width * 9 * channels * first, 9 * channels * first + 2 * first, first
    for block in blocks:
        if block == SKIP:
            continue
        more = block_count(height, width, c, block)
        macs, params, c = macs + more[0], params + more[1], block[2]
        height, width = _halved(height, block[3]), _halved(width, block[3])
    if space.last:
        macs, params, c = macs + height * width * c * space.last, params + (c + 2) * space.last, space.last
    return macs + c * space.classes, params + (c + 1) * space.classes * bool(space.classes)


def block_count(height: int, width: int, channels: int, block: Sequence[int]) -> tuple[int, int]:
    """(multiply-adds, parameters) of a block that sees `[height, width, channels]`."""
    kernel, expansion, features, stride = block
    expanded, pixels = channels * expansion, _halved(height, stride) * _halved(width, stride)
    expands = expansion != 1
    macs = expands * height * width * channels * expanded + pixels * expanded * (kernel * kernel + features)
    params = expands * (channels + 2) * expanded + expanded * (kernel * kernel + 2) + (expanded + 2) * features
    return macs, params


def _halved(side, stride):
    return -(-side // stride)


def _blocks(stages: Sequence[Stage], before: int) -> Iterator[Block]:
    number = 0
    known: tuple[int, ...] = (before,)
    for s, stage in enumerate(stages):
        options = tuple((kernel, expansion) for kernel in stage.kernels for expansion in stage.expansions)
        for i in range(stage.times):
            stride = stage.stride if i == 0 else 1
            kept = i > 0 or (stride == 1 and len(known) == 1 and stage.widths == known)
            yield Block(number, s, stride, options + ((SKIP,) if kept and stage.skip else ()))
            number, known = number + 1, stage.widths


def _several(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _whole(value):
    return isinstance(value, int) and not isinstance(value, bool)
