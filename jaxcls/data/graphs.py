"""Graphs beside pictures, `graphs/FOLDER`: what `jaxcls prepare SOURCE --superpixels N --out FOLDER` writes of any set.

    FOLDER/info.json, train-00000.array_record ...   the pictures, as of `records/FOLDER`
    FOLDER/graphs.json                  version, how they were made, and of each split its counts and a digest
    FOLDER/train-counts.npz             nodes and edges of each graph
    FOLDER/train.nodes                  float32 [all nodes, f], little-endian, graph by graph
    FOLDER/train.edges                  uint16 [all edges, 2]: (from, to) within the graph

An example has the leaves `nodes` [N, f], `edges` [N, N] (edges[i, j]: from j into i), `node_mask` [N] and `positions`
[N, 2] beside its picture, padded to N nodes: those of the largest graph of the folder, or of the option `nodes`, so
that all batches have one shape. The files are mapped, so processes share them. Graphs of one's own:
`graphs/FILE.npz` (`data.graph_arrays`).
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data import ragged, records
from jaxcls.data.base import Source, digest
from jaxcls.data.ragged import Ragged
from jaxcls.errors import UserError
from jaxcls.text import printable

INFO, VERSION = "graphs.json", 1
CHECKED = 2**30  # bytes of graphs up to which their digest is compared


def scan(path: str | Path, options: Mapping[str, str]) -> dict[str, Source]:
    """The sources of a folder, {"all": source} or {"train": source, ...} as the set had them, or of a file of arrays.

    Args:
      path: of the folder or the .npz file.
      options: `nodes`: to which graphs are padded; `edges`: "own", "none" or "shuffled" (`ragged.with_edges`).

    Raises:
      UserError: for a folder that is none, files that are damaged or missing, and options that can't be.
    """
    if Path(path).suffix == ".npz":
        from jaxcls.data import graph_arrays

        found, largest = graph_arrays.scan(Path(path))
    else:
        found, largest = _folder(Path(path))
    how = options.get("edges", ragged.EDGES[0])
    if how not in ragged.EDGES:
        raise UserError(f"graphs/...: edges={printable(how)} can be {', '.join(ragged.EDGES)}.")
    text = options.get("nodes", str(largest))
    if not text.isdecimal() or not largest <= int(text) < 2**16:
        raise UserError(f"graphs/...: nodes={printable(text)} must be at least {largest}, those of the largest graph.")
    return {
        split: ragged.beside(source, functools.partial(ragged.with_edges, opened, how), int(text))
        for split, (source, opened) in found.items()
    }


def _folder(folder: Path) -> tuple[dict[str, tuple[Source, Callable[[], Ragged]]], int]:
    """(split -> its pictures and what opens their graphs, nodes of the largest graph)."""
    place = f"graphs/{printable(folder)}"
    if not (folder / INFO).is_file():
        made = "make it with: jaxcls prepare SOURCE --superpixels 75 --out FOLDER"
        raise UserError(f"{place} has no {INFO}; {made} (or give a file: graphs/FILE.npz)")
    info = files.read_json(folder / INFO, strict=True)
    if not isinstance(info, dict) or info.get("version") != VERSION:
        raise UserError(f"{place}: {INFO} is damaged or of another version of jaxcls; make the folder anew.")
    pictures = records.scan(folder)
    try:
        largest = max(int(entry["largest"]) for entry in info["splits"].values())
        for split in info["splits"]:
            _opened(folder, split, info, check=True)
        found = {split: (pictures[split], functools.partial(_opened, folder, split, info)) for split in info["splits"]}
        return dict(found), largest
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{place}: {' '.join(str(error).split())[:100]}; make the folder anew.") from error


def _opened(folder: Path, split: str, info: Mapping[str, Any], *, check: bool = False) -> Ragged:
    """The graphs of a split. Raises ValueError, KeyError or OSError for files that are damaged."""
    entry, features = info["splits"][split], int(info["features"])
    counts = files.read_arrays(folder / f"{split}-counts.npz", entry["digest"])
    if counts is None:
        raise ValueError(f"{split}-counts.npz is missing or damaged")
    nodes, edges = (np.asarray(counts[name], np.int64) for name in ("nodes", "edges"))
    found = Ragged(
        _mapped(folder / f"{split}.nodes", "<f4", (int(nodes.sum()), features)),
        _mapped(folder / f"{split}.edges", "<u2", (int(edges.sum()), 2)),
        nodes,
        edges,
        positions=int(info["positions"]),
    )
    if check and found.nodes.nbytes + found.edges.nbytes <= CHECKED and digest_of(found) != entry["digest"]:
        raise ValueError(f"{split}.nodes or {split}.edges has changed")
    return found


def _mapped(path, dtype, shape):
    need = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if path.stat().st_size != need:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes in place of {need:,}")
    return np.memmap(path, dtype, "r", shape=shape) if need else np.zeros(shape, dtype)


def digest_of(graphs: Ragged) -> str:
    """Of the numbers of graphs, 16 hex digits."""
    arrays = (graphs.nodes, graphs.edges, graphs.node_counts, graphs.edge_counts)
    return digest(*(np.ascontiguousarray(array) for array in arrays))
