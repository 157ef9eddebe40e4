"""The elements and the text of a page of HTML, for tests of reports."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "col", "wbr"}


class Page(HTMLParser):
    """The elements of a page: (name, attributes) and the text; fails where one is not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} stands twice"
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]
