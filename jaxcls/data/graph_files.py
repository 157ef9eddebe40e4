"""Writes sets with graphs of superpixels beside their pictures, `graphs/FOLDER` (data/graphs)."""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data import graphs, record_files, records, superpixels
from jaxcls.data.base import LEAVES, Source, leaves
from jaxcls.data.pipeline import default_threads
from jaxcls.data.ragged import Ragged
from jaxcls.errors import UserError, of_picture
from jaxcls.text import printable
from jaxcls.types import Note

EVERY = 5.0  # seconds between two lines of progress
BLOCK = 64  # pictures of a thread at a time


def write(
    bases: Mapping[str, Source],
    folder: Path,
    read: Callable[[Any, str, None], np.ndarray],
    wanted: int,
    *,
    how: str = "nearest",
    neighbours: int = superpixels.NEIGHBOURS,
    compactness: float = 0.0,
    note: Note = print,
) -> None:
    """Writes a set and a graph of superpixels of each picture into a folder that gets its name once it is whole.

    One that is stopped leaves nothing and is begun again; one that is killed leaves a hidden folder `.NAME.*.part`,
    which nobody reads.

    Args:
      bases: as of `sources.find`.
      folder: which must not be there, or be empty.
      read: (picture of an item, name, None) -> uint8 [h, w, c], small: `augment.host.smaller`.
      wanted, how, neighbours, compactness: as of `superpixels.graph`.
      note: where lines go.

    Raises:
      UserError: for a picture that can't be read, scikit-image missing, a folder that is there, a full disk.
    """
    superpixels.require()
    if further := sorted(leaves(next(iter(bases.values()))).keys() - LEAVES.keys()):
        raise UserError(f"superpixels are of sets of pictures and labels alone, and this one has {further[0]!r}, too.")
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{printable(folder)} is there already; name another folder with --out, or remove it.")
    segmented = {"wanted": wanted, "how": how, "neighbours": neighbours, "compactness": compactness}
    try:
        record_files.write(bases, part, note)
        pictures = records.scan(part)
        info: dict[str, Any] = {"version": graphs.VERSION, "made": segmented, "splits": {}}
        for split, source in pictures.items():
            entry, features = _split(source, split, part, read, segmented, note)
            info["splits"][split] = entry
            info |= {"features": features, "positions": features - 3}
        files.write_json(part / graphs.INFO, info)
        os.replace(part, folder)
    except OSError as error:
        raise UserError(
            f"{printable(folder)} can't be written: {error.strerror or error}; free some space there, or name another."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _split(source, split, folder, read, segmented, note):
    """Writes the graphs of a split. Returns (what graphs.json has of it, numbers of a node)."""
    counts: list[tuple[int, int]] = []
    features: set[int] = set()
    with open(folder / f"{split}.nodes", "wb") as nodes, open(folder / f"{split}.edges", "wb") as edges:
        for found, pairs in _told(_graphs(source, read, segmented), len(source), split, note):
            features.add(found.shape[1])
            if len(features) > 1:
                raise UserError(f"{split}: some pictures are grey and others not; make them alike first.")
            counts.append((len(found), len(pairs)))
            nodes.write(found.astype("<f4").tobytes())
            edges.write(pairs.astype("<u2").tobytes())
    per_node, per_edge = np.array(counts, np.int64).T
    width = features.pop()
    made = Ragged(
        np.fromfile(folder / f"{split}.nodes", "<f4").reshape(-1, width),
        np.fromfile(folder / f"{split}.edges", "<u2").reshape(-1, 2),
        per_node,
        per_edge,
    )
    mark = graphs.digest_of(made)
    files.write_arrays(folder / f"{split}-counts.npz", mark, nodes=per_node, edges=per_edge)
    entry = {"count": len(made), "nodes": int(per_node.sum()), "edges": int(per_edge.sum())}
    return {**entry, "largest": made.largest, "digest": mark}, width


def _graphs(source: Any, read: Any, segmented: Mapping[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(nodes, edges) of each picture, in order."""
    options = {key: value for key, value in segmented.items() if key != "wanted"}

    def of(row):
        item = source[row]
        try:
            return superpixels.graph(read(item["image"], item["id"], None), segmented["wanted"], **options)
        except Exception as error:
            raise of_picture(error, item["id"]) from error

    threads = default_threads()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(source), BLOCK * threads):
            yield from pool.map(of, range(start, min(start + BLOCK * threads, len(source))))


def _told(items, n, split, note):
    """The items, with a line every few seconds."""
    began = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if (now := time.monotonic()) - last >= EVERY:
            last, speed = now, done / (now - began)
            note(f"{split}: {done:,} of {n:,} graphs, {speed:,.0f}/s, {(n - done) / speed / 60:.1f} minutes left")
