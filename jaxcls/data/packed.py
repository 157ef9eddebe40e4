"""A packed cache: every picture of a source decoded, made smaller once, and kept as uint8 in one memory-mapped file.

For training many epochs on few cores: what is left of reading is a crop. Pictures keep their shape; the short side gets
`size` pixels (Pillow's antialiased bilinear filter), smaller pictures stay as they are.

File, version 1 (or 2 where labels are sets), all numbers little-endian:

    4096 bytes   magic, JSON header padded with spaces: version, fingerprint, size, channels, count, pixels, index,
                 digest
    pixels       uint8 [h, w, channels] of each picture in turn, `pixels` bytes
    index        `index` bytes: offsets int64 [count], shapes int32 [count, 2], labels int32 [count] (version 2: sets of
                 them, uint8 [count, `sets`]), BLAKE2b (8 bytes)
                 of each CHUNK of the pixels, JSON of ids and classes

`digest` is the hash of the index, which has the hashes of all pixels, and of the header: it vouches for the whole file.
Opening checks the header, the index, the length of the file and three chunks; `check` all of them. The file gets its
name once it is whole, so a build that is killed leaves nothing that could be taken for one. The name has fingerprint,
size and channels in it: when the source or the size changes another file is built. Old ones are the user's to delete.
"""

import functools
import hashlib
import json
import mmap
import os
from typing import Any

import numpy as np

from jaxcls.data.base import LEAVES, Leaf
from jaxcls.errors import UserError
from jaxcls.types import PathLike

VERSION, OF_SETS = 1, 2
MAGIC = b"JAXCLSPK"
HEADER = 4096
CHUNK = 2**24  # bytes of pixels that share a hash


class PackedSource:
    """The pictures of a packed file; see the module's docstring. Can be pickled: workers map the file themselves.

    Raises:
      UserError: where the file is damaged, with the remedy.
    """

    def __init__(self, path: PathLike):
        self.path = str(path)
        self._open()
        self.check(chunks=3)

    def _open(self):
        with open(self.path, "rb") as file:
            head = file.read(HEADER)
            try:
                if head[: len(MAGIC)] != MAGIC:
                    raise ValueError("it is no packed file")
                header = json.loads(head[len(MAGIC) :])
                if header["version"] not in (VERSION, OF_SETS):
                    raise ValueError(f"it has version {header['version']}, not {VERSION} or {OF_SETS}")
                length = HEADER + header["pixels"] + header["index"]
                if os.fstat(file.fileno()).st_size != length:
                    raise ValueError(f"it has {os.fstat(file.fileno()).st_size:,} bytes in place of {length:,}")
                file.seek(HEADER + header["pixels"])
                index = file.read(header["index"])
                if voucher(header, index) != header["digest"]:
                    raise ValueError("its header or index has changed")
            except (ValueError, KeyError, TypeError) as error:
                raise self._damaged(error) from error
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.header = header
        self._pixels = np.frombuffer(self._map, np.uint8, header["pixels"], HEADER)
        count, chunks = header["count"], -(-header["pixels"] // CHUNK)
        cut = functools.partial(np.frombuffer, index)
        self._offsets, at = cut(np.dtype("<i8"), count), 8 * count
        self._shapes, at = cut(np.dtype("<i4"), 2 * count, at).reshape(count, 2), at + 8 * count
        if header["version"] == OF_SETS:
            self.labels, at = cut(np.uint8, count * header["sets"], at).reshape(count, -1), at + count * header["sets"]
        else:
            self.labels, at = cut(np.dtype("<i4"), count, at).astype(np.int32), at + 4 * count
        self._sums, at = [index[at + 8 * i : at + 8 * i + 8] for i in range(chunks)], at + 8 * chunks
        names = json.loads(index[at:])
        self.ids, self.classes = tuple(names["ids"]), tuple(names["classes"])
        known = [header[k] for k in ("fingerprint", "size", "channels", "window") if k in header]
        self.fingerprint = digest(json.dumps(known).encode())

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def leaves(self) -> dict[str, Leaf]:
        """Picture and label."""
        return {**LEAVES, "label": Leaf(self.labels.shape[1:], self.labels.dtype)}

    def __getitem__(self, row: int) -> dict[str, Any]:
        h, w = self._shapes[row].tolist()
        if not h:
            raise UserError(f"{self.ids[row]}: it could not be read when {self.path} was packed; replace or remove it")
        start, channels = int(self._offsets[row]), self.header["channels"]
        image = self._pixels[start : start + h * w * channels].reshape(h, w, channels)
        label = self.labels[row]
        return {"image": image, "label": label if label.ndim else int(label), "id": self.ids[row]}

    def check(self, chunks: int | None = None) -> None:
        """Compares the hashes of so many chunks of pixels, evenly spread, the first and the last among them; None: all.

        Raises:
          UserError: where one differs.
        """
        n = len(self._sums)
        rows = range(n) if chunks is None else sorted({i * (n - 1) // max(1, chunks - 1) for i in range(chunks) if n})
        for i in rows:
            if hashed(self._pixels[i * CHUNK : (i + 1) * CHUNK]).digest() != self._sums[i]:
                raise self._damaged(f"pixels {i * CHUNK:,} to {(i + 1) * CHUNK:,} have changed")

    def _damaged(self, reason):
        return UserError(f"packed pictures {self.path}: damaged, {reason}; delete the file, it will be built again")

    def __getstate__(self):
        return {"path": self.path}

    def __setstate__(self, state):
        self.path = state["path"]
        self._open()


def hashed(data: Any = b"") -> "hashlib.blake2b":
    """The hash of a chunk of pixels or of the index."""
    return hashlib.blake2b(data, digest_size=8)


def voucher(header: dict[str, Any], index: bytes) -> str:
    """The `digest` of a file with this header (a dict, its own `digest` left out) and index."""
    return digest(json.dumps({k: header[k] for k in sorted(header) if k != "digest"}).encode() + index)


def digest(data: Any) -> str:
    """Its 16 hex digits."""
    return hashed(data).hexdigest()
