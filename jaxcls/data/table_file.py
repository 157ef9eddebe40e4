"""Files of tables as columns by name."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from jaxcls.data import table_formats
from jaxcls.data.table_columns import Column
from jaxcls.errors import UserError, did_you_mean, listed
from jaxcls.text import printable

MOST_BYTES = 2**32


@dataclasses.dataclass(frozen=True)
class Table:
    """A file as name of column -> Column, all of one length. `notes`: lines about how it was read."""

    path: Path
    columns: dict[str, Column]
    notes: list[str]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())).codes)

    def column(self, name: str, option: str) -> Column:
        """The column of this name. Raises UserError with the nearest name where there is none."""
        if name not in self.columns:
            hint = did_you_mean(name, list(self.columns), 0.5) or f"; it has {listed(map(repr, self.columns))}"
            raise UserError(f"{self}: there is no column {printable(name, 40)!r}, as {option}= says{hint}")
        return self.columns[name]

    def __str__(self) -> str:
        return printable(self.path)


def read(path: Path) -> Table:
    """The columns of a file, by its suffix: .parquet, .jsonl or .ndjson; all others are text with separators.

    Blanks around cells are taken away, and where that makes two values one, it is noted. Lines without any text are
    passed over.

    Raises:
      UserError: for a file that can't be read, is no UTF-8, has no rows, a line of another length than the first, or a
        column without a name or with that of another.
    """
    suffix = path.suffix.lower()
    try:
        if not path.is_file():
            raise UserError(_missing(path))
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{printable(path)} has more than the {MOST_BYTES:,} bytes that are read; divide it.")
        if suffix == ".parquet":
            names, columns = table_formats.parquet(path)
        elif suffix in (".jsonl", ".ndjson"):
            names, columns = table_formats.json_lines(path)
        else:
            names, columns = table_formats.text(path)
    except UnicodeDecodeError as error:
        raise UserError(f"{printable(path)} is no text in UTF-8 (byte {error.start:,}); save it as UTF-8.") from error
    except (OSError, csv.Error) as error:
        raise UserError(f"{printable(path)} can't be read ({getattr(error, 'strerror', None) or error}).") from error
    if not columns or not len(columns[0].codes):
        raise UserError(f"{printable(path)} has no rows below the names of its columns.")
    return _named(path, names, columns)


def _missing(path):
    if path.exists():
        return f"{printable(path)} is no file; name the table itself, such as {printable(path / 'labels.csv')}."
    names = sorted(x.name for x in path.parent.iterdir()) if path.parent.is_dir() else []
    where = did_you_mean(path.name, names) if names else f"; there is no folder {printable(path.parent)}, either"
    return f"there is no table {printable(path)}{where}"


def _named(path: Path, names: Sequence[str], columns: Sequence[Column]) -> Table:
    """A Table of stripped names and cells. Columns without a name are left out where they say nothing."""
    found: dict[str, Column] = {}
    notes: list[str] = []
    for position, (raw, column) in enumerate(zip(names, columns, strict=True), 1):
        name, clean = raw.strip(), _stripped(column)
        if not name:
            if not _numbered(clean) and clean.values != [""]:
                raise UserError(f"{printable(path)}: column {position} has no name in the first line; give it one.")
            notes.append(f"column {position} has no name and is left out")
            continue
        if name in found:
            raise UserError(f"{printable(path)}: two columns are called {name!r}; rename or remove one.")
        if merged := len(column.values) - len(clean.values):
            notes.append(f"blanks around cells of {name!r} are taken away, which makes {merged:,} value(s) another one")
        found[name] = clean
    if not found:
        raise UserError(f"{printable(path)}: no column has a name in the first line; give each one.")
    return Table(path, found, notes)


def _stripped(column: Column) -> Column:
    """Without blanks around the cells."""
    if all(isinstance(value, str) for value in column.values):
        values = list(map(str.strip, column.values))  # type: ignore[arg-type]
        return column if values == column.values else column.mapped(str.strip)  # type: ignore[arg-type]
    return column.mapped(lambda cell: cell.strip() if isinstance(cell, str) else tuple(part.strip() for part in cell))


def _numbered(column: Column) -> bool:
    """Whether it counts the rows, as pandas writes its index."""
    n = len(column.codes)
    return len(column.values) == n and column.values[:3] in (list("012")[:n], list("123")[:n])
