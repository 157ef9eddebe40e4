"""Rename rules from timm's names of mobile networks to torchvision's.

timm cuts the nets in stages and blocks, `blocks.2.0.conv_dw`; torchvision numbers the blocks through, and the steps
inside a block, too. So the rules follow from what blocks a variant has.
"""

import re
from collections.abc import Sequence

Pairs = tuple[tuple[str, str], ...]

# The modules of a block in order, without squeeze and excitation.
PLAIN = ("conv_dw", "bn1", "conv_pw", "bn2")
EXPANDING = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")


def inside(ours: tuple[str, ...], theirs: tuple[str, ...] = ()) -> Pairs:
    """(timm's name, ours) of each module in a block, given ours in order: convolution, norm, ..

    Unless `theirs` is given, the block is an inverted residual, and how many names there are tells of which kind.
    """
    squeezes = any(name.endswith(".fc1") for name in ours)
    if not theirs:
        theirs = PLAIN if len(ours) == len(PLAIN) + 2 * squeezes else EXPANDING
    if squeezes:
        theirs = (*theirs[:-2], "se.conv_reduce", "se.conv_expand", *theirs[-2:])
    return tuple(zip(theirs, ours, strict=True))


def renames(blocks: Sequence[tuple[str, str, Pairs]], ends: tuple[str, str, str, str, str]) -> Pairs:
    """The rules of a whole net, for `Classifier.renames`. Names that are ours already stay as they are.

    `blocks`: for each of them (or for several at once) a pattern of what timm has after "blocks.", our name (it may
    refer to groups of the pattern), and what `inside` gives. `ends`: our names of what is around the blocks, timm's
    `conv_stem`, `bn1`, `conv_head`, `bn2` ("": the net has none) and `classifier`.
    """
    theirs = ("conv_stem", "bn1", "conv_head", "bn2", "classifier")
    leaf = r"(weight|bias|running_mean|running_var)$"
    rules = [(rf"^{old}\.{leaf}", rf"{new}.\1") for old, new in zip(theirs, ends, strict=True) if new]
    patterns: dict[Pairs, list[str]] = {}  # one rule serves all blocks that are alike inside
    for pattern, _, pairs in blocks:
        patterns.setdefault(pairs, []).append(pattern)
    for pairs, alike in patterns.items():
        where = rf"^(blocks\.(?:{'|'.join(alike)}))"
        rules += [(rf"{where}\.{re.escape(old)}\.", rf"\g<1>.{new}.") for old, new in pairs]
    return (*rules, *((rf"^blocks\.{pattern}\.", f"{new}.") for pattern, new, _ in blocks))
