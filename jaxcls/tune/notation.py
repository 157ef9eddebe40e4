"""How the text of a space is written: values, quotes, parentheses."""

import ast
import re
from collections.abc import Iterator

from jaxcls.errors import UserError

BARE = re.compile(r"[^\s,;()\[\]{}'\"=]+( [^\s,;()\[\]{}'\"=]+)*")  # words that need no quotes
Value = bool | int | float | str


def shown(value: Value) -> str:
    """A value as a space's text has it: quotes only where it could be read as something else."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if BARE.fullmatch(value) and read(value) == value else repr(value)
    return repr(value)


def read(text: str) -> Value:
    """The value that a text is: a number, true or false, what stands in quotes, else the text itself."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if text[:1] in ("'", '"'):
        try:
            return str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            raise UserError(f"{text} can't be read; are the quotes closed?") from None
    return text


def enclosed(text: str) -> tuple[str, str, str]:
    """(inside, ")", what follows) of the text after an opening parenthesis; "" for the second where none closes it."""
    depth = 1
    for i, character in _outside_quotes(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[:i], ")", text[i + 1 :]
    return text, "", ""


def split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that stand outside of quotes and parentheses."""
    depth, ends = 0, [-1]
    for i, character in _outside_quotes(text):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if character == separator and depth <= 0:
            ends.append(i)
    return [text[a + 1 : b] for a, b in zip(ends, [*ends[1:], len(text)], strict=True)]


def _outside_quotes(text: str) -> Iterator[tuple[int, str]]:
    """(index, character) of what stands outside of quotes."""
    quote, escaped = "", False
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "'\"":
            quote = character
        else:
            yield i, character
