"""Makes packed caches of sources: builds the files of `packed` where they are not there yet."""

import contextlib
import functools
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data.base import LEAVES, Source, Subset, leaves, multilabel
from jaxcls.data.packed import CHUNK, HEADER, MAGIC, OF_SETS, VERSION, PackedSource, hashed, voucher
from jaxcls.data.pipeline import Transform, default_threads
from jaxcls.data.readers import keep_freed_memory
from jaxcls.data.windows import Window
from jaxcls.errors import UserError, of_picture
from jaxcls.types import Note, PathLike

EVERY = 5.0  # seconds between two lines of progress
SAMPLE = 32  # pictures by which the room that is needed is estimated


def pack(
    source: Source,
    folder: PathLike,
    transform: Transform,
    size: int,
    *,
    channels: int = 3,
    window: Window = (),
    skip: bool = False,
    threads: int | None = None,
    note: Note = print,
) -> PackedSource:
    """The PackedSource of a source, built where there is none yet.

    A second process that wants the same file waits for the first (where the file system has locks; elsewhere both
    build it, and the later one stays).

    Args:
      source: as from `sources.load`, of encoded pictures or arrays.
      folder: where packed files lie.
      transform: (encoded or array image, name, None) -> uint8 [h, w, channels], small: `augment.host.smaller`.
      size: pixels of the short side.
      channels, window: of the transform; files of other ones lie beside.
      skip: whether a picture that can't be read is left out; its row then raises UserError.
      threads: that decode, by default as many as cores.
      note: where lines go: that it begins, how far it is, where the file lies.

    Raises:
      UserError: a picture that cannot be read, a full disk, a folder that cannot be written, a damaged file; a source
        with further leaves, which a packed file has no place for.
    """
    if further := ", ".join(map(repr, sorted(leaves(source).keys() - LEAVES.keys()))):
        raise UserError(
            f"config.data.pack must be 0: packed files hold pictures and labels alone, not {further} of the source."
        )
    folder = Path(folder)
    through = "".join(f"_{limit:.9g}" for limit in window)
    path = folder / f"{source.fingerprint}-{size}-{channels}{through}.pack"
    try:
        if path.exists():
            return PackedSource(path)
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")) as alone:
            if not path.exists():
                if alone:  # nobody else is at it, so what lies there was left by a build that was killed
                    for left in folder.glob(f"{path.stem}.*.part"):
                        left.unlink()
                more = {"window": list(window)} if window else {}
                _build(
                    source, path, transform, size, channels=channels, more=more, skip=skip, threads=threads, note=note
                )
        return PackedSource(path)
    except OSError as error:
        raise UserError(
            f"packed pictures {path} can't be written or read: {error.strerror or error}; free some space there, set "
            "config.data.pack_dir to another folder, or config.data.pack=0."
        ) from error


def pack_all(
    sources: Mapping[str, Source], folder: PathLike, transform: Transform, size: int, **options: Any
) -> dict[str, Source]:
    """The splits of a set with packed pictures; splits that are views of one source share one file.

    Args:
      sources: split -> source.
      folder, transform, size, options: as for `pack`.

    Raises:
      UserError: as `pack`, and for a set that lies in memory already.
    """
    packed: dict[int, PackedSource] = {}
    result: dict[str, Source] = {}
    for split, source in sources.items():
        if hasattr(source, "images"):
            raise UserError("config.data.pack is for encoded pictures; this set lies in memory, so it must be 0.")
        base = source.source if isinstance(source, Subset) else source
        if id(base) not in packed:
            packed[id(base)] = pack(base, folder, transform, size, **options)
        pictures = packed[id(base)]
        result[split] = Subset(pictures, source.indices) if isinstance(source, Subset) else pictures
    return result


def default_folder() -> Path:
    """Where packed files lie by default: jaxcls/packed in the user's cache."""
    return files.cache() / "jaxcls" / "packed"


@contextlib.contextmanager
def _locked(path):
    """Holds a lock file; gives False where the system or the file system has no locks."""
    with open(path, "w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            yield False
        else:
            yield True


def _build(source, path, transform, size, *, channels, more=None, skip=False, threads=None, note=print):
    """Writes a packed file under another name and gives it its own at the end.

    Args:
      source, transform, size, channels, skip, threads, note: as for `pack`.
      path: of the file.
      more: what else its header has.

    Raises:
      UserError: a picture that cannot be read, too little room.
      OSError: the file cannot be written.
    """
    keep_freed_memory()
    threads = threads or default_threads()
    read = functools.partial(_read, source, transform, channels, skip)
    _check_room(source, read, path.parent)
    part = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.part")
    note(f"packing {len(source):,} pictures with {size} pixels on the short side into {path}")
    try:
        with open(part, "xb") as file, ThreadPoolExecutor(threads) as pool:
            file.write(b" " * HEADER)
            pictures = _progress(_in_order(pool, read, len(source), 4 * threads), len(source), note)
            shapes, listed, ids, sums = _write_pixels(file, pictures)
            sets = multilabel(source)
            labels = np.array(listed, np.uint8 if sets else "<i4")
            sizes = np.prod(shapes, axis=1, dtype=np.int64) * channels
            names = json.dumps({"ids": ids, "classes": list(source.classes)})
            index = b"".join(
                [
                    (np.cumsum(sizes) - sizes).astype("<i8").tobytes(),
                    np.array(shapes, "<i4").tobytes(),
                    labels.tobytes(),
                    *sums,
                    names.encode(),
                ]
            )
            file.write(index)
            header = {
                "version": OF_SETS if sets else VERSION,
                "fingerprint": source.fingerprint,
                "size": size,
                "channels": channels,
                "count": len(labels),
                "pixels": int(sizes.sum()),
                "index": len(index),
                **(more or {}),
            }
            header |= {"sets": labels.shape[1]} if sets else {}
            header["digest"] = voucher(header, index)
            file.seek(0)
            file.write(MAGIC + json.dumps(header).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    note(f"packed: {path.stat().st_size / 2**20:,.0f} MiB")


def _read(source, transform, channels, skip, row):
    """(picture, label, id) of a row; with `skip` a picture of no pixels for one that can't be read."""
    name = source.ids[row] if hasattr(source, "ids") else f"row {row}"
    try:
        item = source[row]
        name = item["id"]
        image = np.ascontiguousarray(transform(item["image"], name, None))
    except Exception as error:
        if not skip:
            raise of_picture(error, name) from error
        return np.zeros((0, 0, channels), np.uint8), source.labels[row], name
    if image.shape[2] != channels:
        raise UserError(f"{name} has {image.shape[2]} channels, not {channels}; set config.data.channels")
    return image, item["label"], name


def _in_order(pool, function, n, ahead):
    """function(0) .. function(n - 1) in order, computed by a pool, at most `ahead` of them waiting."""
    waiting = [pool.submit(function, row) for row in range(min(n, ahead))]
    try:
        for row in range(n):
            result = waiting[row % ahead].result()
            if row + ahead < n:
                waiting[row % ahead] = pool.submit(function, row + ahead)
            yield result
    finally:
        for future in waiting:
            future.cancel()


def _write_pixels(file, pictures):
    """Writes pictures one after another. Returns (shapes, labels, ids, hashes of the chunks)."""
    shapes, labels, ids, sums = [], [], [], []
    state, room = hashed(), CHUNK
    for image, label, name in pictures:
        shapes.append(image.shape[:2])
        labels.append(label)
        ids.append(name)
        data = memoryview(image.reshape(-1))
        file.write(data)
        while len(data):
            state.update(data[:room])
            taken = min(room, len(data))
            data, room = data[taken:], room - taken
            if not room:
                sums.append(state.digest())
                state, room = hashed(), CHUNK
    return shapes, labels, ids, [*sums, state.digest()] if room < CHUNK else sums


def _progress(items, n, note):
    """The items, with a line every few seconds."""
    began = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= EVERY:
            last, speed = now, done / (now - began)
            note(f"packed {done:,} of {n:,} pictures, {speed:,.0f}/s, {(n - done) / speed / 60:.1f} minutes left")


def _check_room(source, read, folder):
    """There is room for the file, judged by some pictures.

    Raises:
      UserError: if there is not.
    """
    rows = {i * len(source) // SAMPLE for i in range(SAMPLE)}
    need = len(source) * np.mean([read(row)[0].nbytes for row in rows])
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"the packed pictures need about {need / 2**30:.1f} GiB, but {folder} has {free / 2**30:.1f} GiB free; "
            "make config.data.pack smaller, set config.data.pack_dir to another folder, or config.data.pack=0."
        )
