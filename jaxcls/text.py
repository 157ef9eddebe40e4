"""Text that others gave (names of classes, pictures, folders) as it goes to a terminal, and to a spreadsheet.

A terminal obeys escape codes (CWE-150) and turns the order of letters round after bidirectional marks; a spreadsheet
computes cells that begin like a formula (OWASP, "CSV Injection"). JSON, and what programs read, has the text as it is.
"""

from typing import Any

NAME = 40  # characters of a name in a table
PATH = 200  # of a path in a line
FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # what a cell begins with that spreadsheets compute, OWASP's list


def printable(text: object, most: int | None = None) -> str:
    """A name or path in one line, for people: control characters, line ends, bidirectional and other invisible marks
    and broken bytes as escapes (backslash x1b). Of more than `most` characters the middle is left out.
    """
    whole = str(text)
    if not whole.isprintable():
        whole = "".join(map(_escaped, whole))
    if most is None or len(whole) <= most:
        return whole
    end = (most - 1) // 3
    return f"{whole[: most - 1 - end]}…{whole[len(whole) - end :]}"


def _escaped(letter):
    return letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode()


def lines(text: object) -> str:
    """`printable` of each line of a text: its line ends stay."""
    return "\n".join(map(printable, str(text).split("\n")))


def cell(value: Any) -> Any:
    """A value as a cell of a CSV that people open in a spreadsheet: text that would be a formula after an apostrophe.

    Numbers, also those in a text (-0.5), stay. `from_cell` takes the apostrophe away again.
    """
    if isinstance(value, str) and value.lstrip("'").startswith(FORMULA) and not _number(value):
        return f"'{value}"
    return value


def from_cell(text: str) -> str:
    """The text that `cell` was given."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA) else text


def _number(text):
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text  # a line end before it is none
