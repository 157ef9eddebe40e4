"""The pictures of a request: a form, JSON with base64, or the picture itself."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from jaxcls.serve.limits import Refused

AT_ONCE = 2**18  # bytes that are looked through on the event loop; more go to a thread
FIELDS, LONGEST = 32, 1000  # of a form, beside pictures: how many, and bytes of one
RAW = ("application/octet-stream", "application/x-www-form-urlencoded", "")  # the second one is curl's --data-binary
HOW = 'send a picture (Content-Type: image/jpeg), a form with files, or JSON: {"images": [base64, ..]}'


class Gone(Exception):
    """The client has left."""


async def off_loop(size: int, function: Callable[..., Any], *args: Any) -> Any:
    """What a function gives, which reads `size` bytes: of many in a thread."""
    return function(*args) if size <= AT_ONCE else await asyncio.to_thread(function, *args)


async def read(request: Request) -> bytes:
    """The body. Raises Refused (limits.Body), and Gone."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise Gone from error


class Sent(NamedTuple):
    """What a request has sent.

    Attributes:
      pictures: in their order, the bytes of each; a line in place of one that is no base64.
      fields: what stands beside them: fields of a form, of JSON what is not "images".
    """

    pictures: list[bytes | str]
    fields: dict[str, Any]


async def pictures(request: Request, most: int) -> Sent:
    """The pictures of a request, and what it says beside them.

    Args:
      request: whose body is read.
      most: pictures.

    Raises:
      Refused: 400 for a body that is not what it says, without pictures, or cut off; 413 for too many; 415 for a kind
        that is not taken; and as `limits.Body`.
      Gone: the client has left.
    """
    given, options = parse_options_header(request.headers.get("content-type", ""))
    kind = given.decode("latin-1").lower()
    if not (kind in (*RAW, "multipart/form-data", "application/json") or kind.startswith(("image/", "video/"))):
        raise Refused(415, HOW)
    body = await read(request)
    if kind == "application/json":
        found = await off_loop(len(body), of_json, body, most)
    elif kind == "multipart/form-data":
        found = await off_loop(len(body), of_form, body, options.get(b"boundary", b""), most)
    else:
        found = Sent([body] if body else [], {})
    if not found.pictures:
        raise Refused(400, f"there is no picture in this request; {HOW}")
    return found


def of_json(body: bytes, most: int) -> Sent:
    """Of {"images": [base64, ...]}."""
    given = parsed(body)
    images = given.get("images") if isinstance(given, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise Refused(400, '"images" has to be a list of pictures in base64')
    check_count(len(images), most)
    return Sent([unpacked(image) for image in images], {key: x for key, x in given.items() if key != "images"})


def parsed(body: bytes) -> Any:
    """JSON. Raises Refused for what is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is no JSON") from error


def unpacked(text: str) -> bytes | str:
    """The bytes of base64, which may be a data URL; a line where it is none. No address is ever fetched."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return "it is no base64 (addresses are not fetched)"


def check_count(count: int, most: int) -> None:
    """Raises Refused for too many pictures."""
    if count > most:
        raise Refused(413, f"a request may have {most:,} pictures (--max-pictures)")


def of_form(body: bytes, boundary: bytes, most: int) -> Sent:
    """The files of a form, whatever the names of their fields."""
    form = _Form(most)
    try:
        parser = python_multipart.MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, "the form is damaged") from error
    if not form.ended:
        raise Refused(400, "the form is cut off")
    return Sent(form.files, form.fields)


class _Form:
    """What the parser of a form is told of."""

    def __init__(self, most: int):
        self.files: list[bytes | str] = []
        self.fields: dict[str, str] = {}
        self.ended, self._most, self._parts = False, most, 0
        self._name, self._value, self._about, self._data = b"", b"", b"", bytearray()

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """By the parser's names."""
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in names}

    def _part_begin(self):
        self._about, self._data = b"", bytearray()
        self._parts += 1
        if self._parts > self._most + FIELDS:
            check_count(self._parts, self._most)

    def _header_field(self, data, start, end):
        self._name += data[start:end]

    def _header_value(self, data, start, end):
        self._value += data[start:end]

    def _header_end(self):
        if self._name.lower() == b"content-disposition":
            self._about = self._value
        self._name = self._value = b""

    def _part_data(self, data, start, end):
        self._data += data[start:end]

    def _part_end(self):
        about = parse_options_header(self._about)[1]
        file = about.get(b"filename")
        if file is None:
            name = about.get(b"name", b"").decode(errors="replace")
            self.fields[name] = self._data[:LONGEST].decode(errors="replace")
        elif file or self._data:  # else a field for a file in which none was chosen
            self.files.append(bytes(self._data))
            check_count(len(self.files), self._most)

    def _end(self):
        self.ended = True
