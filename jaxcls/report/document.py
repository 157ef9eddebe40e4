"""A page of HTML that needs nothing else, of its head and its sections."""

from collections.abc import Sequence
from typing import Any

from jaxcls.report.markup import Markup, Section, paragraph, tag
from jaxcls.report.style import SHEET

# Nothing is loaded from anywhere, and no script runs, whatever a class or a file is called.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, head: Any, sections: Sequence[Section], footer: str) -> str:
    """The page as text.

    Args:
      title: of the window.
      head: what stands above the links to the sections.
      sections: in order.
      footer: a sentence below all.
    """
    links = tag("nav", tag("ul", *(tag("li", part.link()) for part in sections)), aria_label="Contents")
    end = tag("footer", paragraph(footer, class_="dim"))
    body = tag("body", tag("header", head, links), tag("main", *(part.render() for part in sections)), end)
    about = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(SHEET)),
    ]
    return f"<!doctype html>\n{tag('html', tag('head', *about), body, lang='en')}\n"
