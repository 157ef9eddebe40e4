"""Looks into checkpoints without building the model, the optimiser or the devices of the run that wrote them.

Layout: `<workdir>/checkpoints/<step>/` is Orbax's, with the items `state` (a nested dict of arrays) and `meta` (JSON);
`<workdir>/manifests/<step>.json` lists the SHA-256 of its files and is written last, so a step without one is
unfinished. Listing and metadata are plain JSON; only shapes and values need Orbax, which is imported for them.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcls.checkpoints import meta
from jaxcls.checkpoints.meta import Meta
from jaxcls.errors import UserError
from jaxcls.pytree import flatten_names
from jaxcls.types import PathLike


class Step(NamedTuple):
    """One checkpoint: its number, its folder, whether it is finished and the best one, and its recorded metrics."""

    number: int
    path: Path
    finished: bool
    best: bool
    metrics: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Shape and dtype of a saved array."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize


class Difference(NamedTuple):
    """How far apart two tensors of one name are: max |a - b|, and |a - b| / |a| in the L2 norm (0 if equal)."""

    equal: bool
    max_abs: float
    relative_l2: float


def manifest_path(step_dir: Path) -> Path:
    """Where the SHA-256s of a step's files are kept."""
    return step_dir.parent.parent / "manifests" / f"{step_dir.name}.json"


def list_steps(workdir: PathLike) -> list[Step]:
    """The checkpoints of a workdir in order of their steps, those that Orbax did not finish included.

    The best one has the highest `score` among the finished ones (what Orbax was told to keep), the newest of equals.
    Metadata that cannot be read count as no metrics here; `read_meta` says what is wrong.

    Raises:
      UserError: if the workdir has no folder `checkpoints`.
    """
    folder = Path(workdir) / "checkpoints"
    if not folder.is_dir():
        raise UserError(f"{workdir} holds no folder 'checkpoints': give the workdir of a run or the folder of one step")
    folders = []
    for path in folder.iterdir():
        name = re.fullmatch(r"(\d+)(\.orbax-checkpoint-tmp.*)?", path.name)
        if name and path.is_dir():
            finished = name[2] is None and manifest_path(path).is_file()
            folders.append((int(name[1]), path, finished))
    folders.sort()
    scores = {(_score(path), number) for number, path, finished in folders if finished}
    best = max((entry for entry in scores if entry[0] > -math.inf), default=(None, None))[1]
    return [Step(n, path, done, done and n == best, _metrics(path)) for n, path, done in folders]


def find_step(path: PathLike, step: int | None = None) -> Path:
    """The folder of a step. `path` is a workdir (its newest finished step, or the given one), or that folder itself.

    A given step is returned finished or not.

    Raises:
      UserError: if there is no such checkpoint.
    """
    path = Path(path).resolve()
    if not path.is_dir():
        raise UserError(f"{path} is no folder: give the workdir of a run or the folder of one step")
    if path.name == "checkpoints":
        path = path.parent
    if (path / "state").is_dir() or (path / "meta").is_dir():
        if step is not None and path.name != str(step):
            raise UserError(f"{path} is the folder of one step already: leave out the step {step}, or give the workdir")
        return path
    steps = [entry for entry in list_steps(path) if "." not in entry.path.name]
    if step is None:
        steps = [entry for entry in steps if entry.finished]
        if not steps:
            raise UserError(f"{path} holds no finished checkpoint; an unfinished one can be looked at by its step")
        return steps[-1].path
    by_number = {entry.number: entry.path for entry in steps}
    if step not in by_number:
        raise UserError(f"{path} holds no step {step}; it holds {', '.join(map(str, by_number)) or 'none'}")
    return by_number[step]


def read_meta(step_dir: Path) -> Meta:
    """The JSON item of a step: config, classes, metrics, versions, what answers, ...

    Raises:
      UserError: if it is missing or damaged, or of a later version of the format.
    """
    path = step_dir / "meta" / "metadata"
    try:
        item = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is damaged"
        raise UserError(f"{path}: {reason}; choose another step") from error
    return meta.from_json(item, str(path))


def read_tensors(step_dir: Path) -> dict[str, Tensor]:
    """Name -> shape and dtype of everything in the state; no array is read.

    Raises:
      UserError: if the state is missing or damaged.
    """
    return {name: Tensor(tuple(m.shape), np.dtype(m.dtype)) for name, m in flatten_names(_metadata(step_dir)).items()}


def read_arrays(step_dir: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Name -> array on the host, all or the named ones only, whatever devices they were saved from.

    Raises:
      UserError: if the state is missing or damaged.
    """
    tree = _metadata(step_dir)
    import jax
    import orbax.checkpoint as ocp

    named, structure = flatten_names(tree), jax.tree.structure(tree)
    wanted = [m if names is None or name in names else ocp.PLACEHOLDER for name, m in named.items()]
    restore = ocp.args.PyTreeRestore(
        item=jax.tree.unflatten(structure, wanted),
        restore_args=jax.tree.unflatten(structure, [ocp.RestoreArgs(restore_type=np.ndarray)] * len(named)),
    )
    path = (step_dir / "state").absolute()
    with _reading(path), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        state = flatten_names(checkpointer.restore(path, args=restore))
    return {name: np.asarray(x) for name, x in state.items() if x is not ocp.PLACEHOLDER}


def best_step(path: PathLike) -> Path:
    """The folder of a workdir's best step, of the newest where none is best; or the step that `path` itself is.

    Raises:
      UserError: as `find_step`.
    """
    folder = find_step(path)
    if folder.parent.name != "checkpoints" or folder.resolve() == Path(path).resolve():
        return folder
    return next((step.path for step in list_steps(folder.parents[1]) if step.best), folder)


def read_variables(step_dir: Path, *, raw: bool = False) -> tuple[dict[str, Any], bool]:
    """(the collections of the model that answers, as nested dicts of arrays; whether they are averages).

    Averages (EMA) are taken where there are any, unless `raw`.

    Raises:
      UserError: where the step can't be read.
    """
    answer = read_meta(step_dir).answer
    average, plain = (answer.names, answer.raw) if answer else meta.names_of_version_1(read_tensors(step_dir))
    averaged = bool(plain) and not raw
    names = plain if plain and raw else average
    arrays = read_arrays(step_dir, set(names.values()))
    variables: dict[str, Any] = {}
    if missing := [stored for stored in names.values() if stored not in arrays]:
        raise UserError(f"{step_dir} holds no {missing[0]}, which its model needs; choose another step")
    for name, stored in names.items():
        *path, leaf = name.split("/")
        node = variables
        for key in path:
            node = node.setdefault(key, {})
        node[leaf] = arrays[stored]
    return variables, averaged


def verify(step_dir: Path) -> list[str]:
    """What is wrong with the files of a step, one line each: missing, changed or unlisted ones. [] if all is well.

    The manifest's paths are taken relative to the step's folder.

    Raises:
      UserError: if the step has no readable manifest.
    """
    path = manifest_path(step_dir)
    try:
        expected = json.loads(path.read_bytes())["files"]
        expected = {str(name): str(digest) for name, digest in expected.items()}
    except FileNotFoundError as error:
        raise UserError(f"{step_dir} has no manifest {path}: the step is unfinished and cannot be verified") from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is damaged: the step cannot be verified") from error
    present = {file.relative_to(step_dir).as_posix(): file for file in step_dir.rglob("*") if file.is_file()}
    problems = [f"{name}: missing" for name in sorted(expected.keys() - present.keys())]
    problems += [f"{name}: not in the manifest" for name in sorted(present.keys() - expected.keys())]
    for name in sorted(expected.keys() & present.keys()):
        with open(present[name], "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected[name]:
                problems.append(f"{name}: its SHA-256 differs from the manifest's")
    return problems


def statistics(array: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation, minimum, maximum and L2 norm of the finite values, in float64, and the count of others.

    An array without finite values has NaN for all but the count; its norm is 0.
    """
    values = np.asarray(array, np.float64).ravel()
    finite = values[np.isfinite(values)]
    result = dict.fromkeys(("mean", "std", "min", "max"), math.nan)
    if finite.size:
        result = {name: float(getattr(finite, name)()) for name in result}
    return {**result, "norm": float(np.linalg.norm(finite)), "nonfinite": int(values.size - finite.size)}


def difference(a: np.ndarray, b: np.ndarray) -> Difference:
    """Compares two arrays of one shape in float64. NaN equals NaN; what is not finite is infinitely far off."""
    if a.dtype == b.dtype and a.tobytes() == b.tobytes():
        return Difference(True, 0.0, 0.0)
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    apart = np.where(np.isnan(apart), np.inf, apart)
    distance, norm = np.linalg.norm(apart), np.linalg.norm(a[np.isfinite(a)])
    relative = 0.0 if distance == 0 else math.inf if norm == 0 else float(distance / norm)
    return Difference(bool(same.all()), float(apart.max(initial=0.0)), relative)


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as `{"optimizer.name": "sgd"}`; an empty section stays as `{}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _metrics(step_dir: Path) -> dict[str, Any]:
    try:
        return dict(read_meta(step_dir).metrics)
    except UserError:
        return {}


def _score(step_dir: Path) -> float:
    """What Orbax ranks the step by: `{"score": float}` in its item `metrics`; -inf without."""
    try:
        return float(json.loads((step_dir / "metrics" / "metrics").read_bytes())["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return -math.inf


def _metadata(step_dir: Path) -> dict[str, Any]:
    """Orbax's nested dict of the state, with metadata in place of arrays."""
    path = (step_dir / "state").absolute()
    if not path.is_dir():
        raise UserError(f"{step_dir} holds no tensors (no folder 'state'); choose another step")
    with _reading(path):
        import orbax.checkpoint as ocp

        return ocp.PyTreeCheckpointHandler().metadata(path).tree


@contextlib.contextmanager
def _reading(path: Path):
    try:
        yield
    except Exception as error:  # Orbax and TensorStore raise a dozen types for damaged files, with long texts
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{path} cannot be read; choose another step ({reason})") from error
