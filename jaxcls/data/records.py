"""ArrayRecord of one's own, `records/FOLDER`: what `jaxcls prepare SOURCE --to array_record` writes of any set.

    FOLDER/info.json                        version, classes, and of each split its files, pictures and fingerprint
    FOLDER/train-index.npz                  labels and ids of a split, so that opening reads no picture
    FOLDER/train-00000.array_record ...     a picture a record

A record is the length of a JSON text (4 bytes, little-endian), the text, and the picture, encoded as it was or, of sets
that lie in memory, as bytes of uint8 of the "shape" in the text. The text has "id", "label" (a number, or a list of
numbers where labels are sets), "leaves", and "more", what else is known of the picture. A set without splits of its own
has one that is called all.
"""

import functools
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data.base import LEAVES, ArraySource, Leaf, Source, digest
from jaxcls.data.dealing import ALL, NAMES
from jaxcls.data.pieces import stamp
from jaxcls.errors import UserError
from jaxcls.text import printable

INFO, VERSION = "info.json", 1
IN_MEMORY = 2**30  # bytes of pixels up to which pictures of one size are read at once
CHUNK = 512  # records read by one call
LENGTH = struct.Struct("<I")


def scan(path: str | Path) -> dict[str, Source]:
    """The sources of a folder of records: {"all": source}, or {"train": source, ...}, as the set had them.

    Sets that lay in memory do so again, up to a GiB.

    Raises:
      UserError: for a folder that is none, or files that are damaged, missing, or of a later version.
    """
    folder, place = Path(path), f"records/{printable(path)}"
    if not (folder / INFO).is_file():
        raise UserError(f"{place} has no {INFO}; make it with: jaxcls prepare SOURCE --to array_record --out FOLDER")
    info = files.read_json(folder / INFO, strict=True)
    if not isinstance(info, dict) or info.get("version") != VERSION:
        raise UserError(f"{place}: {INFO} is damaged or of another version of jaxcls; make the folder anew.")
    try:
        opened = {split: _opened(folder, split, info, place) for split in (*NAMES, ALL) if split in info["splits"]}
        shape = info["shape"] and tuple(info["shape"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{place}: {INFO} is damaged; make the folder anew.") from error
    if shape and np.prod(shape) * sum(map(len, opened.values())) <= IN_MEMORY:
        return {split: _into_memory(source, shape) for split, source in opened.items()}
    return dict(opened)


def _opened(folder, split, info, place):
    entry = info["splits"][split]
    paths = [folder / Path(name).name for name in entry["files"]]
    if lost := [path for path in paths if not path.is_file()]:
        raise UserError(f"{place}: {lost[0].name} is missing; copy the folder again.")
    index = files.read_arrays(folder / f"{split}-index.npz", entry["fingerprint"])
    if index is None:
        raise UserError(f"{place}: {split}-index.npz is missing or damaged; copy the folder again.")
    leaves = {name: Leaf(tuple(leaf["shape"]), np.dtype(leaf["dtype"])) for name, leaf in info["leaves"].items()}
    ids = json.loads(index["ids"].tobytes())
    if not len(ids) == len(index["labels"]) == entry["count"]:
        raise ValueError("counts")
    return RecordSource(paths, ids, index["labels"], tuple(info["classes"]), leaves, entry["fingerprint"])


class RecordSource:
    """Pictures of some ArrayRecord files, read one by one. Can be pickled: workers open the files themselves.

    Args:
      paths: of the files.
      ids, labels, classes: as of any source.
      more: leaves beside picture and label.
      origin: fingerprint of what was written.

    Raises:
      UserError: where the files are cut, or hold another number of pictures.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        ids: Sequence[str],
        labels: np.ndarray,
        classes: Sequence[str],
        more: Mapping[str, Leaf],
        origin: str,
    ):
        self.paths, self.ids, self.labels, self.classes = tuple(map(str, paths)), tuple(ids), labels, tuple(classes)
        self.more, self.origin = dict(more), origin
        if len(self._records) != len(self.ids):
            count = len(self._records)
            raise UserError(f"{printable(paths[0])} and the files beside it hold {count:,} pictures, not {len(ids):,}.")

    @functools.cached_property
    def _records(self) -> Any:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        try:
            return ArrayRecordDataSource(list(self.paths))
        except (ValueError, RuntimeError, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error):
        reason = " ".join(str(error).split())[:100]
        return UserError(
            f"{printable(self.paths[0])}, or a file beside it, is cut or damaged ({reason}); copy it again."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_records"}

    @property
    def leaves(self) -> dict[str, Leaf]:
        """Picture, label or a set of them, and those that the set had beside them."""
        return {**LEAVES, "label": Leaf(self.labels.shape[1:], self.labels.dtype), **self.more}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> dict[str, Any]:
        row = range(len(self))[row]
        try:
            record = self._records[row]
        except (ValueError, RuntimeError, OSError) as error:
            raise self._damaged(error) from error
        return self._item(row, record)

    def _item(self, row, record):
        text, picture = parts(record)
        label = self.labels[row] if self.labels.ndim == 2 else int(self.labels[row])
        image = np.frombuffer(picture, np.uint8).reshape(text["shape"]) if "shape" in text else picture
        leaves = {name: np.array(value, self.more[name].dtype) for name, value in text.get("leaves", {}).items()}
        return {"image": image, "label": label, "id": self.ids[row], **leaves, **text.get("more", {})}

    def items(self) -> Any:
        """All items in order, read in chunks."""
        for start in range(0, len(self), CHUNK):
            rows = range(start, min(start + CHUNK, len(self)))
            try:
                records = self._records.__getitems__(list(rows))
            except (ValueError, RuntimeError, OSError) as error:
                raise self._damaged(error) from error
            yield from map(self._item, rows, records)

    def blocks(self, row: int, block: int) -> tuple[int, bytes, bytes]:
        """(bytes of a picture, its first `block` ones, its last ones behind them, at most as many)."""
        image = self[row]["image"]
        data = image if isinstance(image, bytes) else image.tobytes()
        return len(data), data[:block], data[max(block, len(data) - block) :]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of what was written, and of the files' names, sizes and first 4 KiB."""
        return digest(self.origin.encode(), stamp(self.paths).encode())


def parts(record: bytes) -> tuple[dict[str, Any], bytes]:
    """(the text, the picture) of a record. Raises ValueError or struct.error for bytes that are none."""
    (length,) = LENGTH.unpack_from(record)
    end = LENGTH.size + length
    return json.loads(record[LENGTH.size : end]), record[end:]


def _into_memory(source, shape):
    """A RecordSource whose pictures have one shape as an ArraySource."""
    images = np.empty((len(source), *shape), np.uint8)
    more: dict[str, list[Any]] = {name: [] for name in source.more}
    for row, item in enumerate(source.items()):
        images[row] = item["image"]
        for name, values in more.items():
            values.append(item[name])
    arrays = {name: np.array(values, source.more[name].dtype) for name, values in more.items()}
    return ArraySource(images, source.labels, source.classes, source.ids, more=arrays)
