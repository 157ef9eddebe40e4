"""Writes the files of `packed`."""

import functools
import json
import os
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxcls.data.packed import CHUNK, HEADER, MAGIC, VERSION, hashed, voucher
from jaxcls.errors import UserError

EVERY = 5.0  # seconds between two lines of progress
SAMPLE = 32  # pictures by which the room that is needed is estimated


def build(source, path, transform, size, *, channels, threads=None, note=print):
    """Writes a packed file under another name and gives it its own at the end.

    Args:
      source, transform, size, channels, threads, note: as for `packed.pack`.
      path: of the file.

    Raises:
      UserError: a picture that cannot be read, too little room.
      OSError: the file cannot be written.
    """
    from jaxcls.data.pipeline import default_threads, keep_freed_memory

    keep_freed_memory()
    threads = threads or default_threads()
    read = functools.partial(_read, source, transform, channels)
    _check_room(source, read, path.parent)
    part = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.part")
    note(f"packing {len(source):,} pictures with {size} pixels on the short side into {path}")
    try:
        with open(part, "xb") as file, ThreadPoolExecutor(threads) as pool:
            file.write(b" " * HEADER)
            pictures = _progress(_in_order(pool, read, len(source), 4 * threads), len(source), note)
            shapes, labels, ids, sums = _write_pixels(file, pictures)
            sizes = np.prod(shapes, axis=1, dtype=np.int64) * channels
            names = json.dumps({"ids": ids, "classes": list(source.classes)})
            index = b"".join([
                (np.cumsum(sizes) - sizes).astype("<i8").tobytes(), np.array(shapes, "<i4").tobytes(),
                np.array(labels, "<i4").tobytes(), *sums, names.encode(),
            ])  # fmt: skip
            file.write(index)
            header = {
                "version": VERSION, "fingerprint": source.fingerprint, "size": size, "channels": channels,
                "count": len(labels), "pixels": int(sizes.sum()), "index": len(index),
            }  # fmt: skip
            header["digest"] = voucher(header, index)
            file.seek(0)
            file.write(MAGIC + json.dumps(header).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    note(f"packed: {path.stat().st_size / 2**20:,.0f} MiB")


def _read(source, transform, channels, row):
    item = source[row]
    image = np.ascontiguousarray(transform(item["image"], item["id"], None))
    if image.shape[2] != channels:
        raise UserError(f"{item['id']} has {image.shape[2]} channels, not {channels}; set config.data.channels")
    return image, int(item["label"]), item["id"]


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
        data = memoryview(image).cast("B")
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
