"""Files of published weights: safetensors and what `torch.save` writes, told apart by their content, not their name.

Nothing of a file is executed, and PyTorch is not needed. Files are mapped into memory, so that only what is used is
read (zip archives of PyTorch are read once, which checks their sums). No file takes more memory or time than one of
its size may: what it claims is compared with what it has before anything is made of it.
"""

import contextlib
import hashlib
import math
import os
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcls import files
from jaxcls.errors import UserError, did_you_mean
from jaxcls.models import download, hub, origin, safetensors_files, torch_files, weights
from jaxcls.models.torch_pickle import Tensor

# Where training scripts keep the state dict, in order of preference: the averaged weights are the published ones.
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state")
SUFFIXES = (".safetensors", ".pth", ".pt")
MOST_TENSORS = 20_000
_STRANGERS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself; get that with 'git lfs pull'",
    b"<": "is a web page, not weights; the download went wrong",
    b"\x89HDF": "is an HDF5 file (of Keras?); only safetensors and files of PyTorch can be read",
}


class WeightFile(NamedTuple):
    """Named arrays of a file.

    Attributes:
      name: what it was asked for by.
      path: where it lies.
      tensors: name -> array, read-only.
      container: the key of the file under which the state dict was found; "" where the file is one.
      says: what the file, or the config.json beside it, says of itself.
    """

    name: str
    path: Path
    tensors: dict[str, np.ndarray]
    container: str = ""
    says: origin.Says = origin.Says()

    @property
    def sha256(self) -> str:
        """Of the whole file."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read(name: str | Path) -> WeightFile:
    """The tensors of a file, of a folder as on the Hugging Face hub, of one there (`hf-hub:ORG/NAME[@revision]`), or of
    published weights by name (`weights.find`), which are fetched where they are not here yet.

    Raises:
      UserError: one line, for a file that is missing, damaged or something else, or wants to execute code.
    """
    config: Path | str | None
    row = weights.find(str(name))
    if row is not None and row.is_url:
        path, config = download.fetch(row.location, row.sha256, row.name), None
    elif row is not None or str(name).startswith(hub.PREFIX):
        path, config = hub.fetch(f"{hub.PREFIX}{row.location}" if row else str(name))
    else:
        path = _within(Path(name).expanduser())
        config = path.with_name(origin.CONFIG) if path.name in hub.FILES else None  # any other file has its own name
    with _reading(path):
        if not path.exists() or path.is_dir():
            raise UserError(_missing(path))
        with files.open_regular(path, None) as file:
            begins = file.read(64)
            file.seek(0)
            if begins[:4] == b"PK\x03\x04" or begins[2:14] == torch_files.BEGINS:
                content, array = torch_files.read(file)
                tensors, container = _state_dict(content)
                _require_bounds(tensors, os.fstat(file.fileno()).st_size)
                tensors = {key: array(tensor) for key, tensor in tensors.items()}
                says = origin.of_checkpoint(content, tensors)
            elif begins[8:9] == b"{":
                (tensors, metadata), container = safetensors_files.read(file), ""
                says = origin.of_metadata(metadata)
            else:
                raise UserError(_stranger(begins))
        if bad := [key for key in tensors if not key.isprintable()]:
            raise ValueError(f"a tensor is called {bad[0]!a}")
        if not tensors:
            raise UserError("holds no tensors")
        if len(tensors) > MOST_TENSORS:
            raise UserError(f"holds {len(tensors):,} tensors; at most {MOST_TENSORS:,} can be read")
        if isinstance(config, str):
            says = says._replace(note=config)
        elif config is not None and config.is_file():
            beside = origin.of_config(config)
            says = beside if beside.where else says._replace(note=beside.note)
    return WeightFile(str(name), path, tensors, container, _told(says, row))


def _told(says, row):
    """What the source says, or the table of weights in its place, with what is to be told of the licence."""
    licence = says.licence or (row.licence if row else "")
    notes = filter(None, (says.note, weights.licence_note(licence)))
    return (says if says.where or row is None else row.says)._replace(note="; ".join(notes), licence=licence)


def _within(path):
    """The weights of a folder that is laid out as on the hub; any other path as it is."""
    return next((path / file for file in hub.FILES if os.path.isfile(path / file)), path)  # False for odd names, too


def write(
    path: str | Path,
    tensors: dict[str, np.ndarray],
    metadata: dict[str, str],
    versions: Mapping[str, int] = types.MappingProxyType({}),
) -> None:
    """Writes a state dict: as safetensors, or in PyTorch's zip format (without the metadata) for .pth and .pt.

    Args:
      path: of the file.
      tensors: name -> array.
      metadata: of safetensors.
      versions: module -> version of its state, for those modules of a library that insist on one ("": the net itself).

    Raises:
      UserError: for another suffix, a type that the format does not know, or a file that cannot be written.
    """
    path = Path(path)
    if versions and path.suffix == ".safetensors":
        raise UserError(
            f"{path}: its library loads such a state only with a version, for which safetensors has no place; "
            "let the name end in .pth"
        )
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    with files.replacing(path, remedy="choose another place") as temporary:
        if path.suffix == ".safetensors":
            safetensors_files.write(temporary, tensors, metadata)
        else:
            with open(temporary, "wb") as file:
                torch_files.write(file, tensors, versions)


@contextlib.contextmanager
def _reading(path):
    try:
        yield
    except UserError as error:
        raise UserError(f"weights {path}: {error}") from error
    except Exception as error:  # json, zipfile, pickletools and NumPy raise a dozen types for damaged files
        reason = error.strerror if isinstance(error, OSError) else None
        if reason:
            raise UserError(f"weights {path}: can't be read: {reason}") from error
        text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
        detail = ascii(" ".join(text.split()))[1:-1][:100]
        raise UserError(f"weights {path}: is damaged or cut off ({detail}); get it again") from error


def _missing(path):
    if path.is_dir():
        return f"is a folder without {' or '.join(hub.FILES)} and no workdir of a run; give a file"
    hint = did_you_mean(path.name, (p.name for p in path.parent.glob("*") if p.is_file()))
    if not hint and path.suffix not in (*SUFFIXES, ".th", ".bin") and re.fullmatch(r"[\w-]+/[\w.@-]+", str(path)):
        hint = f"; for the Hugging Face hub write {hub.PREFIX}{path}"
    return f"there is no such file{hint or weights.near(str(path))}"


def _stranger(begins):
    if not begins:
        return "is empty"
    for start, what in _STRANGERS.items():
        if begins.startswith(start):
            return what
    return f"is neither safetensors nor a file of torch.save (it begins with {begins[:8]!r})"


def _state_dict(content):
    """(name -> Tensor, the key it was found under) of the object in a file of PyTorch; other values are left out."""
    if not isinstance(content, dict):
        raise UserError(f"holds a {type(content).__name__.lower()}, not a state dict")
    places = [(content.get(key), key) for key in CONTAINERS] + [(content, "")]
    for place, container in places:
        if isinstance(place, dict):
            tensors = {key: x for key, x in place.items() if isinstance(key, str) and isinstance(x, Tensor)}
            if tensors:
                return tensors, container
    keys = ", ".join(ascii(key) for key in list(content)[:5]) or "none"
    raise UserError(f"is no state dict and holds none under {', '.join(CONTAINERS)}; its keys are {keys}")


def _require_bounds(tensors, size):
    """Views of one storage may not add up to more than twice what the file has, as of a net that is in it twice."""
    if sum(math.prod(x.size) * x.dtype.itemsize for x in tensors.values()) > 2 * size:
        raise ValueError("its tensors have more numbers than the file: a tensor reaches beyond its storage")
