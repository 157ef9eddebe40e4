"""What lies where in tar files: of each sample (members `key.jpg`, `key.cls`, ...) its picture and its label."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxcls.data import kinds, tar_headers
from jaxcls.data.pieces import read_at
from jaxcls.errors import UserError, listed
from jaxcls.text import printable
from jaxcls.types import PathLike

FIELDS = ("label", "labels", "class", "cls", "target")  # of a .json, where no option names one
LARGEST = 2**20  # bytes of a label
# As WebDataset has it: the key is all before the first dot of the file's name, folders included
_NAME = re.compile(r"((?:.*/)?[^./][^.]*)\.([^/]+)")
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


class Place(NamedTuple):
    """A member of a tar file: the offset of its first byte, and how many it has."""

    offset: int
    size: int


Samples = dict[str, dict[str, Place]]  # key -> suffix in lower case, without the first dot -> member


def samples(path: PathLike) -> Samples:
    """The samples of a tar file, in its order; only its headers are read.

    Raises:
      UserError: for a file that is compressed, cut or none, or has two members of one name.
    """
    found: Samples = {}
    doubled: list[str] = []
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(6)
            if tool := next((tool for magic, tool in _COMPRESSED.items() if head.startswith(magic)), None):
                raise UserError(f"{printable(path)} is compressed, so nothing in it can be found; unpack it: {tool}")
            for member in tar_headers.members(file.fileno()):
                if (match := _NAME.fullmatch(member.name)) is None:
                    continue
                parts = found.setdefault(match[1].removeprefix("./"), {})
                if (suffix := match[2].lower()) in parts:
                    doubled.append(member.name)
                parts[suffix] = Place(member.offset, member.size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{printable(path)} is cut, damaged or no tar file ({reason}); copy it again.") from error
    if doubled:
        raise UserError(
            f"{printable(path)} has {len(doubled):,} members twice, the first is {printable(doubled[0])}; keep one."
        )
    return found


def picture(parts: Mapping[str, Place], wanted: str | None, name: str) -> Place | None:
    """The picture of a sample; None where it has none. Raises UserError where it has several, and none is wanted."""
    if wanted is not None:
        return parts.get(wanted.lower().removeprefix("."))
    found = [suffix for suffix in parts if f".{suffix}" in kinds.suffixes()]
    if len(found) > 1:
        raise UserError(f"{printable(name)} has several pictures, {listed(found)}; name one: ?image={found[0]}")
    return parts[found[0]] if found else None


class Labels:
    """How samples say their label: `read` gives that of one. Chosen by a first sample, or by the option `label`.

    Attributes:
      suffix: of the members that hold it; None where there are none.
      field: of these, where they are JSON.
    """

    def __init__(self, descriptor: int, parts: Mapping[str, Place], wanted: str | None, name: str):
        self.suffix: str | None = None
        self.field: str | None = None
        if wanted is not None and wanted.lower() in parts and wanted.lower() != "json":
            self.suffix = wanted.lower()
        elif wanted is not None:
            self.suffix, self.field = "json", wanted
        elif "cls" in parts:
            self.suffix = "cls"
        elif "json" in parts and (field := self._field(descriptor, parts["json"], name)):
            self.suffix, self.field = "json", field
        elif "txt" in parts:
            self.suffix = "txt"
        elif "json" in parts:
            raise UserError(
                f"{printable(name)}: its .json has none of the fields {listed(FIELDS)}; name one: ?label=FIELD"
            )

    def _field(self, descriptor, place, name):
        content = _json(descriptor, place, name)
        return next((field for field in FIELDS if field in content), None)

    def read(self, descriptor: int, parts: Mapping[str, Place], name: str) -> Any:
        """A whole number, a word, a list of either; None where the sample has no label."""
        place = parts.get(self.suffix or "")
        if place is None:
            return None
        if self.field is not None:
            value = _json(descriptor, place, name).get(self.field)
            return int(value) if isinstance(value, float) and value.is_integer() else value
        text = _text(descriptor, place, name).strip()
        if "\n" in text:
            raise UserError(
                f"{printable(name)}: its .{self.suffix} has several lines; sets of labels are lists in a .json"
            )
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text or None


def _text(descriptor, place, name):
    if place.size > LARGEST:
        raise UserError(f"{printable(name)}: a label of {place.size:,} bytes; name what holds it: ?label=...")
    try:
        return read_at(descriptor, *place).decode("utf-8-sig")
    except UnicodeError as error:
        raise UserError(f"{printable(name)}: its label is no UTF-8 text; write it anew.") from error


def _json(descriptor, place, name):
    """The fields of a .json."""
    try:
        content = json.loads(_text(descriptor, place, name))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{printable(name)}: its .json is damaged; write it anew.") from error
    if not isinstance(content, dict):
        raise UserError(f'{printable(name)}: its .json has no fields, but must be like {{"label": 3}}.')
    return content
