"""Calls written as text, as settings have them: "crop(32, pad=4)", "flip", "mixup(0.2) | 2 * cutmix(1.0)".

Arguments are Python literals; nothing is executed.
"""

import ast
import contextlib
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from jaxcls.errors import UserError, did_you_mean

ONE_OF = "a | b"  # the name of a call that stands for alternatives; its arguments are calls
UNREADABLE = (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError)


class Call(NamedTuple):
    """`"crop(32, pad=4)"` is `("crop", (32,), {"pad": 4})`."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def parse(text: str, known: Collection[str], *, what: str, kind: str, like: str, alternatives: bool = False) -> Call:
    """The call that a text is; a name alone is one without arguments.

    Args:
      text: the text.
      known: names that may be called.
      what: the setting, in messages; there, `kind` says what the names are and `like` gives examples.
      alternatives: whether `"a | 3 * b(1)"` is allowed, which is `(ONE_OF, (a, b(1)), {"weights": (1, 3)})`.

    Raises:
      UserError: for a text that is no call, or an unknown name (the nearest is named).
    """
    try:
        choices = _choices(ast.parse(text.strip(), mode="eval").body)
        plain = len(choices) == 1 and choices[0][0] == 1
        if not plain and not alternatives:
            raise ValueError
    except UNREADABLE:
        raise UserError(f"{what}: {text!r} can't be read; write it like {like}.") from None
    for _, call in choices:
        if call.name not in known:
            hint = did_you_mean(call.name, list(known)) or f"; there are {', '.join(sorted(known))}."
            raise UserError(f"{what}: there is no {kind} {call.name!r}{hint}")
    weights, calls = zip(*choices, strict=True)
    return calls[0] if plain else Call(ONE_OF, calls, {"weights": weights})


@contextlib.contextmanager
def fitting(name: str, what: str) -> Iterator[None]:
    """Around what is called `name`: TypeErrors and ValueErrors are about its arguments, and become UserErrors."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise UserError(f"{what}: the arguments of {name!r} don't fit: {error}") from error


def literal(text: str) -> Any:
    """The Python literal that a text is, else the text: calls spaced as in `crop(32, pad=4)`, the rest as it stands."""
    try:
        source = text.strip()
        return _value(ast.parse(source, mode="eval").body, source)
    except UNREADABLE:
        return text


def literals(text: str) -> list[Any]:
    """As `literal`, of each item where the text is a tuple or list: "(1, 2)" and "resize(28), flip" have two."""
    try:
        source = text.strip() or "()"
        tree = ast.parse(source, mode="eval").body
        items = tree.elts if isinstance(tree, (ast.Tuple, ast.List)) else [tree]
        return [_value(node, source) for node in items]
    except UNREADABLE:
        return [text]


def _choices(node: ast.expr) -> list[tuple[float, Call]]:
    """(weight, call) of each of `a | 3 * b(1)`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_choices(node.left), *_choices(node.right)]
    weight = 1
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        weight, node = ast.literal_eval(node.left), node.right
        if isinstance(weight, bool) or not weight > 0:
            raise ValueError
    return [(weight, _call(node))]


def _call(node: ast.expr) -> Call:
    if isinstance(node, ast.Name):
        return Call(node.id, (), {})
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError
    kwargs = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
    if len(kwargs) < len(node.keywords):  # **, or one twice
        raise ValueError
    return Call(node.func.id, tuple(map(ast.literal_eval, node.args)), kwargs)


def _value(node: ast.expr, source: str) -> Any:
    with contextlib.suppress(ValueError, TypeError):
        return ast.literal_eval(node)
    if any(isinstance(part, ast.Call) for part in ast.walk(node)):  # but "conv1|bn1" may be a regular expression
        with contextlib.suppress(ValueError, TypeError):
            _choices(node)
            return ast.unparse(node)
    return ast.get_source_segment(source, node)
