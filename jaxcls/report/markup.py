"""HTML and SVG as strings that are escaped exactly once, and the tables and figures of the report made of them."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup, escape

PERCENT = "\N{NO-BREAK SPACE}%"
LETTERS = 60  # of a name that is shown
VOID = {"br", "col", "hr", "img", "meta"}


def text(value: Any) -> Markup:
    """A value as markup, escaped unless it is Markup; None is nothing."""
    return Markup("") if value is None else escape(value)


def join(parts: Iterable[Any], separator: str = "") -> Markup:
    """The parts one after the other."""
    return Markup(separator).join(map(text, parts))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element. Attributes are written `class_`, `aria_label`, `viewBox`; one that is None or False is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{written}>" if name in VOID else f"<{name}{written}>{join(children)}</{name}>")


class Section(NamedTuple):
    """A part of the page; `identifier` is what links point to."""

    identifier: str
    title: str
    body: Markup

    def render(self) -> Markup:
        """The element, with its heading."""
        return tag("section", tag("h2", self.title), self.body, id=self.identifier, aria_label=self.title)

    def link(self) -> Markup:
        """A link to it."""
        return tag("a", self.title, href=f"#{self.identifier}")


def section(identifier: str, title: str, *children: Any) -> Section:
    """A part of the page with these children."""
    return Section(identifier, title, join(children))


def paragraph(*children: Any, class_: str | None = None) -> Markup:
    """A paragraph."""
    return tag("p", *children, class_=class_)


def unordered(items: Iterable[Any], class_: str | None = None) -> Markup:
    """A list with bullets."""
    return tag("ul", *(tag("li", item) for item in items), class_=class_)


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], *, words: Sequence[int] = (0,)) -> Markup:
    """A table that scrolls sideways where the screen is narrow.

    Args:
      head: names of the columns.
      rows: cells; the first of each row is its heading.
      words: columns that hold words, to be set to the left; the others hold numbers.
    """
    aligned = [None if i in words else "number" for i in range(len(head))]
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", class_=aligned[0]),
            *(tag("td", cell, class_=aligned[i]) for i, cell in enumerate(row[1:], 1)),
        )
        for row in rows
    ]
    names = tag("tr", *(tag("th", name, scope="col", class_=aligned[i]) for i, name in enumerate(head)))
    return tag("div", tag("table", tag("thead", names), tag("tbody", *body)), class_="scroll", tabindex="0")


def facts(rows: Iterable[tuple[Any, Any]]) -> Markup:
    """A table of (name, value) without a heading row."""
    body = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows]
    return tag("div", tag("table", tag("tbody", *body), class_="facts"), class_="scroll", tabindex="0")


def figure(picture: Any, caption: Any = None, class_: str | None = None) -> Markup:
    """A picture with what it shows below it."""
    return tag("figure", picture, tag("figcaption", caption) if caption else "", class_=class_)


def folded(title: Any, *children: Any) -> Markup:
    """What is shown on a click, and always in print."""
    return tag("details", tag("summary", title), *children)


def in_words(name: str) -> str:
    """A figure's name as text: "balanced_accuracy" is "balanced accuracy", "knn" "k-NN"."""
    return "k-NN" if name == "knn" else name.replace("_", " ")


def capital(words: str) -> str:
    """Words as they begin a sentence; "k-NN" and "mAP" stay."""
    return words if words[1:2] == "-" or words[1:2].isupper() else words[:1].upper() + words[1:]


def label(name: str, letters: int = LETTERS) -> str:
    """A name that people gave, on one line: cut in its middle, white space and control characters a blank each.

    One with letters that run from right to left (or marks that turn the direction) stands between isolates, so that
    what follows keeps its place; the marks themselves go.
    """
    kinds = [(letter, unicodedata.category(letter)) for letter in name]
    plain = " ".join("".join(" " if kind in ("Cc", "Zl", "Zp") else x for x, kind in kinds if kind != "Cf").split())
    if len(plain) > letters:
        end = letters // 3
        plain = f"{plain[: letters - end - 1]}…{plain[-end:]}"
    turned = any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in plain)
    return f"\N{FIRST STRONG ISOLATE}{plain}\N{POP DIRECTIONAL ISOLATE}" if turned else plain


def percent(share: float | None, digits: int = 1) -> str:
    """A share as text, "-" where it is undefined. 99.96 % is not rounded to 100 %, nor 0.04 % to 0 %."""
    if share is None or share != share:
        return "–"
    value, step = round(100 * share, digits), 10.0**-digits
    if value >= 100 and share < 1 - 1e-9:  # not for what rounding leaves of a 1
        return f">{100 - step:.{digits}f}{PERCENT}"
    if value <= 0 and share > 1e-9:
        return f"<{step:.{digits}f}{PERCENT}"
    return f"{value:.{digits}f}{PERCENT}"


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals, "-" where it is undefined."""
    if value is not None and value in (math.inf, -math.inf):
        return "∞" if value > 0 else "−∞"
    return "–" if value is None or value != value else f"{value:.{digits}f}"
