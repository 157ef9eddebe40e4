"""Pictures in files whose labels are told elsewhere than by their folders: in a table, or by their names."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcls.data.base import LEAVES, Leaf, digest
from jaxcls.data.folder_source import FolderSource
from jaxcls.data.table_columns import Column


class TableSource(FolderSource):
    """A FolderSource with labels of its own, single (int32 [n]) or sets (uint8 [n, classes]).

    `weights`: float32 [n], the leaf `weight`; None: there is none. `groups`: the name of each row's group, which no
    split tears apart; None: there are none. `columns`: what else is known of each row, as text: metadata of the items.
    `taken`: name of a column that means something else -> what.
    """

    def __init__(
        self,
        root: str,
        ids: Sequence[str],
        labels: np.ndarray,
        classes: Sequence[str],
        left_out: Mapping[str, tuple[int, str]] | None = None,
        notes: Sequence[str] = (),
        *,
        weights: np.ndarray | None = None,
        groups: Sequence[str] | None = None,
        columns: Mapping[str, Column] | None = None,
        taken: Mapping[str, str] | None = None,
    ):
        super().__init__(root, ids, np.empty(0, np.int32), classes, left_out, notes)
        self.labels = np.asarray(labels, np.uint8 if np.ndim(labels) == 2 else np.int32)
        self.weights = None if weights is None else np.asarray(weights, np.float32)
        self.groups = None if groups is None else tuple(groups)
        self.columns, self.taken = dict(columns or {}), dict(taken or {})

    @property
    def leaves(self) -> dict[str, Leaf]:  # type: ignore[override]
        """Picture and label, and the weight where there is one."""
        label = {"label": Leaf(self.labels.shape[1:], self.labels.dtype)}
        weight = {} if self.weights is None else {"weight": Leaf((), self.weights.dtype)}
        return {**LEAVES, **label, **weight}

    def __getitem__(self, row: int) -> dict[str, Any]:
        label, weight = self.labels[row], {} if self.weights is None else {"weight": self.weights[row]}
        with self._open(row) as file:
            image = file.read()
        item = {"image": image, "label": label if label.ndim else int(label), "id": self.ids[row], **weight}
        return {**item, **{name: str(column.values[column.codes[row]]) for name, column in self.columns.items()}}

    def metadata(self) -> dict[str, list[str]]:
        """The columns, a text a row, without a look at the files."""
        return {name: [str(value) for value in column.cells()] for name, column in self.columns.items()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the files (FolderSource), and of all that is told of them."""
        told = repr((self.classes, self.groups, self.labels.shape)).encode(errors="surrogateescape")
        parts = [super().fingerprint.encode(), told, np.ascontiguousarray(self.labels)]
        if self.weights is not None:
            parts.append(self.weights)
        for name, column in self.columns.items():
            parts += [repr((name, column.values)).encode(errors="surrogateescape"), column.codes]
        return digest(*parts)
