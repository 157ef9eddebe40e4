"""Processes that train together have the same code, JAX, config and pictures; a line names who has not, and what."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcls.data import metadata
from jaxcls.data.base import Source, Subset
from jaxcls.defaults import flatten
from jaxcls.errors import UserError
from jaxcls.training import sharing

OWN = ("config.data.dir", "config.data.pack_dir", "config.data.workers")  # a machine may have its own
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def check_config(config: Mapping[str, Any]) -> None:
    """All processes run the same program on the same config. Raises UserError on all of them where one does not."""
    if jax.process_count() == 1:
        return
    facts = {f"config.{key}": json.dumps(value, default=str) for key, value in flatten(config)}
    facts = {key: value for key, value in facts.items() if key not in OWN}
    facts |= {f"the version of {name}": importlib.metadata.version(name) for name in PACKAGES}
    _compare({"the code of jaxcls": code(), **facts})


def check_pictures(sources: Mapping[str, Source]) -> None:
    """All processes have the same pictures, by their number, labels and names, and know the fingerprint of those of
    training, for which process 0 alone looks into files. Raises UserError on all of them where one has others."""
    if jax.process_count() == 1:
        return
    facts = {}
    for split, source in sources.items():
        listed = hasattr(source.source if isinstance(source, Subset) else source, "ids")  # else pictures would be read
        names = "\0".join(metadata.ids(source) if listed else ()).encode(errors="surrogateescape")
        facts[f"the number of {split} pictures"] = str(len(source))
        facts[f"the classes of {split}"] = json.dumps(list(map(str, source.classes)))
        facts[f"the labels of {split} (a hash)"] = _hash(np.ascontiguousarray(source.labels).tobytes())
        facts[f"the names of the {split} pictures (a hash)"] = _hash(names)
    _compare(facts)
    train: Any = sources["train"]
    known = sharing.from_main(lambda: {"fingerprint": train.fingerprint})
    vars(train)["fingerprint"] = known["fingerprint"]  # where the property keeps it


def code() -> str:
    """A hash of the package's Python files."""
    root = Path(__file__).parents[1]
    state = hashlib.blake2b(digest_size=8)
    for path in sorted(root.rglob("*.py")):
        state.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return state.hexdigest()


def difference(everyone: list[dict[str, str]]) -> str:
    """The line about the first process whose facts are not those of process 0; "" where all are alike."""
    first = everyone[0]
    for number, facts in enumerate(everyone):
        for what in [*first, *facts]:
            theirs, ours = facts.get(what, "not there"), first.get(what, "not there")
            if theirs != ours:
                return (
                    f"process {number} of {len(everyone)} is not like process 0: {what} is {theirs[:80]} there and "
                    f"{ours[:80]} on process 0; start all of them with the same code, JAX, config and pictures."
                )
    return ""


def _compare(facts):
    """Raises UserError where the facts of some process are not those of process 0."""
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    lengths = np.asarray(multihost_utils.process_allgather(np.int32(len(text)))).ravel()
    rows = np.asarray(multihost_utils.process_allgather(np.pad(text, (0, int(lengths.max()) - len(text)))))
    texts = [row[:n].tobytes() for row, n in zip(rows.reshape(len(lengths), -1), lengths, strict=True)]
    if line := difference([json.loads(text) for text in texts]):
        raise UserError(line)


def _hash(content):
    return hashlib.blake2b(content, digest_size=8).hexdigest()
