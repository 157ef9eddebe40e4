"""Published weights into a model that need not be quite the published one: other classes, channels or sizes.

What differs is explained by a rule and reported, or refused: no tensor is left out silently.
"""

import re

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxcls.errors import UserError
from jaxcls.models import basis, publishers, ssl_names, state_dict
from jaxcls.models.base import Classifier
from jaxcls.models.basis import Use
from jaxcls.models.layers import inflate
from jaxcls.models.load_report import SHOWN, TRANSLATED, Report
from jaxcls.models.origin import Says
from jaxcls.models.state_dict import Slot, from_state_dict, merge, to_state_dict
from jaxcls.models.weight_files import WeightFile

__all__ = ["Report", "Use", "from_state_dict", "load", "match", "merge", "to_state_dict"]


def load(model: Classifier, variables: dict, file: WeightFile | dict, use: Use = basis.UNKNOWN) -> tuple[dict, Report]:
    """`variables` with the weights of a file where it has any, and what became of each tensor.

    Args:
      model: whose class attributes say what may differ (`models.base.Classifier`).
      variables: the model's, initialised.
      file: what `weight_files.read` returned, or a bare state dict.
      use: what the weights are put to, with which what the file says of itself is compared.

    Raises:
      UserError: where something differs that no rule explains.
    """
    weights, report = match(model, variables, file, use)
    return merge(variables, weights), report


def match(model: Classifier, variables: dict, file: WeightFile | dict, use: Use = basis.UNKNOWN) -> tuple[dict, Report]:
    """As `load`, with only the loaded leaves, as NumPy arrays; `variables` may be abstract (`jax.eval_shape`)."""
    if isinstance(file, WeightFile):
        report = Report(file.name, file.sha256, file.container)
        tensors, says = file.tensors, file.says
    else:
        report, tensors, says = Report(), file, Says()
    try:
        basis.check(model, says, use)
        slots = state_dict.slots(variables)
        if foreign := publishers.converted(tensors, slots):
            tensors, report.skipped = foreign.tensors, dict(foreign.beside)
        matching = _Matching(model, slots, tensors, report, _other_names(says, use))
        weights = matching.run()
        translated = foreign is not None or matching.translated
        report.names = TRANSLATED if translated else "the model's own"
        report.basis = basis.rows(model, _norm(variables), says, use)
        report.notes = [says.note] * bool(says.note) + basis.warnings(model, translated, says, use)
        return weights, report
    except UserError as error:
        raise UserError(f"weights {report.file}: {error}" if report.file else str(error)) from error


def _norm(variables):
    """Which norm the model has."""
    if variables.get("batch_stats"):
        return "BatchNorm"
    scaled = any(path[-1] == "scale" for path in traverse_util.flatten_dict(variables.get("params", {})))
    return "LayerNorm" if scaled else ""


def _other_names(says, use):
    """Why the last layer stays as initialised although it fits: its classes are known to be others; "" else."""
    if not says.classes or not use.classes or len(says.classes) != len(use.classes) or says.classes == use.classes:
        return ""
    ours = "in another order" if {*says.classes} == {*use.classes} else "others"
    return f"the file's classes are {ours}: {state_dict.abbreviated(says.classes, SHOWN)}"


class _Matching:
    """One attempt to fit the tensors of a file into the slots of a model."""

    def __init__(self, model, slots: dict[str, Slot], tensors: dict, report: Report, other_names: str):
        self.model, self.slots, self.report, self.other_names = model, slots, report, other_names
        self.names, left_out = _names(model, tensors, slots)
        self.report.skipped |= left_out
        self.values = {name: np.asarray(tensors[key]) for key, name in self.names.items()}
        self.weights: dict[tuple[str, ...], np.ndarray] = {}
        self.wrong: list[str] = []
        self.other_channels: list[str] = []

    def run(self) -> dict:
        """The loaded leaves as nested dicts."""
        both = sorted(self.slots.keys() & self.values.keys())
        other_classes = self._other_classes(both)
        for name in both:
            if other_classes and self._in_head(name):
                self.report.kept[name] = other_classes
            else:
                self._place(name)
        self._first_kernel()
        missing = [name for name in sorted(self.slots.keys() - self.values.keys()) if not self._may_miss(name)]
        extra = {key: name for key, name in self.names.items() if name not in self.slots}
        unexpected = [key for key, name in extra.items() if not self._may_skip(key, name)]
        state_dict.refuse(missing, unexpected, self.wrong)
        self.report.loaded.sort()
        return traverse_util.unflatten_dict(self.weights)

    def _place(self, name):
        """Loads a tensor whose shape is right, or can be made right by a rule."""
        value, slot = self._inflated(name), self.slots[name]
        if not jnp.issubdtype(value.dtype, jnp.floating):
            self.wrong.append(f"{name} is of type {value.dtype}")
        elif (fitting := state_dict.fit_ones(value, slot.shape)) is not None:
            self._set(name, fitting)
        elif (resized := self._resized(name, value, slot.shape)) is not None:
            self._set(name, resized, "as the model's table")
        elif _for_channels(value, slot.shape) is not None:
            self.other_channels.append(name)
        else:
            self.wrong.append(state_dict.misshapen(name, value, slot))

    def _inflated(self, name):
        """The value; a kernel of pictures where the model has one of clips, repeated over time."""
        value, shape = self.values[name], self.slots[name].shape
        return inflate(value, shape[2]) if value.ndim == 4 and len(shape) == 5 else value

    def _set(self, name, value, how=""):
        new = self.slots[name].value(value)
        if not np.isfinite(new.astype(np.float32, copy=False)).all():
            self.wrong.append(f"{name} holds values that are not finite")
            return
        self.weights[self.slots[name].path] = new
        self.report.loaded.append(name)
        before = self.values[name].shape
        if before != value.shape:
            over_time = (len(before), value.ndim, value.shape[2:3] == (1,)) == (4, 5, False)
            how = how or ("repeated over time" if over_time else "axes of length one")
            self.report.resized[name] = {"from": list(before), "to": list(value.shape), "how": how}

    def _resized(self, name, value, shape):
        """The value after the model's own function for it, if there is one that makes it fit."""
        for pattern, function in self.model.resized.items():
            if re.search(pattern, self._inner(name)):
                try:
                    new = np.asarray(function(value, shape))
                except (ArithmeticError, LookupError, TypeError, ValueError):  # it was not made for such shapes
                    return None
                return new if new.shape == tuple(shape) else None
        return None

    def _first_kernel(self):
        """Only one kernel can be the first: two that differ like this mean another architecture."""
        if len(self.other_channels) == 1:
            (name,) = self.other_channels
            value, shape = self._inflated(name), self.slots[name].shape
            self._set(name, _for_channels(value, shape), f"{value.shape[1]} to {shape[1]} channels")
        else:
            self.wrong += [state_dict.misshapen(x, self.values[x], self.slots[x]) for x in self.other_channels]

    def _in_head(self, name):
        return any(name.startswith(f"{layer}.") for layer in self.model.head)

    def _other_classes(self, both):
        """Why the last layer stays as initialised (it differs by the number of classes); "" where it is loaded."""
        shapes = [(self.values[name].shape, self.slots[name].shape) for name in both if self._in_head(name)]
        if any(state_dict.without_ones(theirs[1:]) != state_dict.without_ones(ours[1:]) for theirs, ours in shapes):
            return ""
        counts = {(*theirs[:1], *ours[:1]) for theirs, ours in shapes if theirs[:1] != ours[:1]}
        if not counts and shapes:
            return self.other_names
        if len(counts) != 1 or len(count := counts.pop()) != 2:
            return ""
        return f"the file has {count[0]:,} classes, the model {count[1]:,}"

    def _may_miss(self, name):
        """Whether a tensor that the file lacks may stay as initialised; noted in the report if so."""
        if self.prefix and not name.startswith(self.prefix):
            self.report.kept[name] = "no part of the backbone"
        elif self._in_head(name) and not any(self._in_head(other) for other in self.values):
            self.report.kept[name] = "the file has no last layer"
        return name in self.report.kept

    def _may_skip(self, key, name):
        """Whether a tensor that the model has no place for may be left out; noted in the report if so."""
        if not self.model.num_classes and self._in_head(name):
            self.report.skipped[key] = "the model has no classifier"
        elif any(re.search(pattern, self._inner(name)) for pattern in self.model.unused):
            self.report.skipped[key] = "not used by the model"
        return key in self.report.skipped

    @property
    def translated(self):
        """Whether rules made the model's names of the file's."""
        return any(not key.endswith(self._inner(name)) for key, name in self.names.items() if name in self.slots)

    @property
    def prefix(self):
        return getattr(self.model, "prefix", "")

    def _inner(self, name):
        return name.removeprefix(self.prefix)


def _names(model, keys, ours) -> tuple[dict[str, str], dict[str, str]]:
    """(key of the file -> the name it has in the model: without wrappers, renamed, below the prefix of a backbone;
    key -> why it is left out, of what self-supervised training has beside an encoder)."""
    known = lambda name: _renamed(model, name) in ours  # noqa: E731
    names, left_out, ssl = ssl_names.split(state_dict.own_names(keys, ours), ours, known)
    prefix = getattr(model, "prefix", "")
    if any(name.startswith(prefix) for name in names.values()):  # also where there is no prefix
        prefix = ""
    for key, name in names.items():
        names[key] = prefix + (name if prefix + name in ours else _renamed(model, name))
    heads = {
        key
        for key, name in names.items()
        if ssl_names.is_head(name.removeprefix(prefix), model.head, ours)
        or (ssl and any(name.startswith(f"{layer}.") for layer in model.head))
    }
    left_out |= dict.fromkeys(heads, ssl_names.HEAD)
    names = {key: name for key, name in names.items() if key not in heads}
    taken: dict[str, str] = {}
    for key, name in names.items():
        if (other := taken.setdefault(name, key)) != key:
            raise UserError(f"{other} and {key} would both be {name}")
    return names, left_out


def _renamed(model, name):
    """A name as the model's rules translate it."""
    for pattern, replacement in model.renames:
        name = re.sub(pattern, replacement, name)
    return name


def _for_channels(value, shape):
    """The kernel of a first convolution for another number of channels; None if that is not how they differ.

    Grey gets the sum of red, green and blue. Otherwise the kernel's channels are repeated in turn and scaled by their
    number, old over new, so that what comes out is about as large as before (timm does the same).
    """
    if value.ndim not in (4, 5) or len(shape) != value.ndim:
        return None
    if value.shape[1] not in (1, 3) or value.shape[1] == shape[1]:
        return None
    if (value.shape[0], *value.shape[2:]) != (shape[0], *shape[2:]):
        return None
    value, (old, new) = np.asarray(value, np.float32), (value.shape[1], shape[1])
    if new == 1:
        return value.sum(axis=1, keepdims=True)
    return np.take(value, np.arange(new) % old, axis=1) * np.float32(old / new)
