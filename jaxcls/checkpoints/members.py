"""Several checkpoints whose weights can be averaged: which are meant, and whether they fit together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxcls.checkpoints import view
from jaxcls.checkpoints.meta import Meta
from jaxcls.errors import UserError
from jaxcls.types import PathLike

AVERAGED = ("params/", "model_state/", "extra/")  # the rest, such as the optimiser's state, is the first one's


class Checkpoint(NamedTuple):
    """One checkpoint: the folder of its step, its metadata, and its shapes (name -> checkpoint_view.Tensor)."""

    folder: Path
    meta: Meta
    tensors: dict[str, Any]

    @property
    def workdir(self) -> Path:
        """Of its run."""
        return self.folder.parents[1]

    @property
    def title(self) -> str:
        """A few words for people."""
        return f"{self.workdir} at step {self.folder.name}"


def choose(paths: Sequence[PathLike], *, last: int = 0, steps: Sequence[int] = ()) -> list[Checkpoint]:
    """The checkpoints that are meant.

    Args:
      paths: workdirs, or folders of single steps; of several, each gives its best step, the newest where none is best.
      last: as many of the newest of one workdir; 0: not.
      steps: or these of its steps.

    Returns:
      [Checkpoint], verified, in the order given, the newest first with `last`.

    Raises:
      UserError: where there are fewer than two, one is damaged, or they do not fit together.
    """
    if last or steps:
        if len(paths) != 1:
            raise UserError("--last and --steps are for the checkpoints of one run; of several runs leave them out.")
        finished = [step.path for step in view.list_steps(paths[0]) if step.finished]
        if steps:
            folders = [view.find_step(paths[0], step) for step in dict.fromkeys(steps)]
        elif last > len(finished):
            raise UserError(
                f"{paths[0]} holds {len(finished)} finished checkpoint(s), not {last}; a run keeps as many as "
                "config.checkpoint.keep says."
            )
        else:
            folders = finished[::-1][:last]
    else:
        folders = [view.best_step(path) for path in paths]
    if len(folders) < 2:
        raise UserError("an average needs two checkpoints or more: give several runs, or --last N, or --steps A,B.")
    members = []
    for folder in folders:
        if problems := view.verify(folder):
            raise UserError(f"{folder} is damaged ({problems[0]}); choose another step")
        members.append(Checkpoint(folder, view.read_meta(folder), _tensors(folder)))
    for other in members[1:]:
        _check(members[0], other)
    return members


def _tensors(folder):
    return {name: t for name, t in view.read_tensors(folder).items() if name.startswith(AVERAGED)}


def _check(first, other):
    """Raises UserError where two checkpoints are no weights of one architecture for the same classes."""
    names = [checkpoint.meta.model for checkpoint in (first, other)]
    what = f"{first.title} and {other.title} can't be averaged"
    if names[0] != names[1]:
        raise UserError(f"{what}: the models are {names[0]} and {names[1]}.")
    if first.meta.classes != other.meta.classes:
        raise UserError(f"{what}: they know other classes, or the same in another order.")
    if first.meta.normalize != other.meta.normalize:
        raise UserError(f"{what}: their pictures are normalised in different ways (config.data.normalize).")
    read = [((each.meta.answer and each.meta.answer.model) or {}).get("columns") for each in (first, other)]
    if read[0] != read[1]:
        raise UserError(f"{what}: they read their columns in different ways, each by its own training rows.")
    shapes = [{name: tensor.shape for name, tensor in each.tensors.items()} for each in (first, other)]
    for name in sorted(shapes[0].keys() | shapes[1].keys()):
        one, two = (each.get(name, "absent") for each in shapes)
        if one != two:
            raise UserError(f"{what}: {name} is {one} in the first and {two} in the second.")


def same_pictures(checkpoints: Sequence[Checkpoint]) -> bool:
    """Whether all were trained on the same pictures: another seed holds out other ones, where a set has no splits."""
    return len({each.meta.data["fingerprint"] for each in checkpoints}) == 1
