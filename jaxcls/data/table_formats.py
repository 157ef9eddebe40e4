"""Readers of tables: text with separators, JSON lines, Parquet; each gives (names of columns, Columns)."""

import csv
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data.table_columns import CHUNK, Cell, Column, cell, concatenated, encoded
from jaxcls.errors import UserError, listed
from jaxcls.text import printable

SEPARATORS = ",\t;|"  # of columns, in this order where a file may be read by several
MOST_ROWS, MOST_COLUMNS = 2**27, 1000
SAMPLE = 20  # lines by which the separator is chosen


def text(path: Path) -> tuple[list[str], list[Column]]:
    """(names of the columns, columns) of CSV or TSV, by its first lines. Raises UserError for what is none."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        head = list(itertools.islice(files.short_lines(file), SAMPLE))
        separator = _separator(path, head)
        file.seek(0)
        rows = csv.reader(files.short_lines(file), delimiter=separator)
        names = next(filter(_says, rows), [])
        if not names:
            raise UserError(f"{printable(path)} is empty; its first line has the names of the columns.")
        if len(names) > MOST_COLUMNS:
            raise UserError(f"{printable(path)} has {len(names):,} columns; at most {MOST_COLUMNS:,} are read.")
        chunks = iter(lambda: list(itertools.islice(rows, CHUNK)), [])
        return names, encoded((_regular(path, names, separator, chunk) for chunk in chunks), len(names))


def _says(row: list[str]) -> bool:
    return any(map(str.strip, row))


def _separator(path: Path, head: Sequence[str]) -> str:
    """The separator by which all of the first lines have as many cells as the first one, the most if several do."""
    counts = {}
    for separator in SEPARATORS:
        rows = [line for line in csv.reader(head, delimiter=separator) if any(map(str.strip, line))]
        widths = [len(row) for row in (rows[:-1] if len(head) == SAMPLE and len(rows) > 2 else rows)]  # one may be cut
        if widths and widths[0] > 1:
            counts[separator] = (len(set(widths)) == 1, widths[0])
    if not counts:
        return ","  # one column
    return max(counts, key=lambda separator: counts[separator])


def _regular(path: Path, names: Sequence[str], separator: str, chunk: list[list[str]]) -> list[list[str]]:
    """The rows of a chunk that say anything, all with as many cells as there are names. Raises UserError."""
    rows = [row for row in chunk if (row and row[0] and not row[0].isspace()) or _says(row)]
    if set(map(len, rows)) - {len(names)}:
        raise UserError(_ragged(path, names, separator))
    return rows


def _ragged(path: Path, names: Sequence[str], separator: str) -> str:
    """The message for lines with more or fewer cells than there are names: all are counted, the first is shown."""
    width, wrong, first = len(names), 0, ""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(files.short_lines(file), delimiter=separator)
        for row in filter(_says, rows):
            if len(row) != width:
                others = [x for x in SEPARATORS if x != separator and any(x in cell for cell in (*names, *row))]
                mixed = f", and {listed(map(repr, others))} stands in it, too: use one separator" if others else ""
                remedy = mixed or f"; quote cells that hold a {separator!r}, or fill the line up"
                first = first or f"line {rows.line_num:,} has {len(row):,} cell(s){remedy}"
                wrong += 1
    return (
        f"{printable(path)}: {wrong:,} line(s) have not the {width} cells of the first line (separated by "
        f"{separator!r}), e.g. {first}."
    )


def json_lines(path: Path) -> tuple[list[str], list[Column]]:
    """(names of the columns, columns) of a file with an object of JSON a line. Raises UserError for what is none."""
    names: list[str] = []
    records: list[dict[str, Cell]] = []
    parts: list[list[Column]] = []
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(files.short_lines(file), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise UserError(
                    f'{printable(path)}: line {number:,} is no JSON object such as {{"path": "1.jpg", "label": "cat"}}.'
                )
            records.append({name: cell(value) for name, value in record.items()})
            names += [name for name in record if name not in names]
            if len(names) > MOST_COLUMNS:
                raise UserError(f"{printable(path)} has more than the {MOST_COLUMNS:,} columns that are read.")
            if len(records) == CHUNK:
                parts.append(_of_records(names, records))
                records = []
    parts.append(_of_records(names, records))
    return names, [concatenated(parts, i) for i in range(len(names))]


def _of_records(names, records):
    return encoded([[[record.get(name, "") for name in names] for record in records]], len(names))


def parquet(path: Path) -> tuple[list[str], list[Column]]:
    """(names of the columns, columns) of a Parquet file (pyarrow). Raises UserError for what is none."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{printable(path)}: Parquet needs pyarrow; install it with `pip install pyarrow`.") from error
    try:
        with pyarrow.parquet.ParquetFile(os.fspath(path)) as file:
            schema = file.schema_arrow
            binary = [field.name for field in schema if _holds_bytes(pyarrow.types, field.type)]
            names = [name for name in schema.names if name not in binary]
            if binary:
                raise UserError(
                    f"{printable(path)}: column {binary[0]!r} holds bytes, not paths; pictures inside of Parquet files "
                    f"are hf/{printable(path.parent)}."
                )
            if len(names) > MOST_COLUMNS or file.metadata.num_rows > MOST_ROWS:
                raise UserError(
                    f"{printable(path)} has more than {MOST_COLUMNS:,} columns or {MOST_ROWS:,} rows; make it smaller."
                )
            return names, [_of_arrow(pyarrow, file.read(columns=[name]).column(0)) for name in names]
    except pyarrow.ArrowException as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{printable(path)} is no whole Parquet file ({reason}); write it anew.") from error


def _holds_bytes(types: Any, kind: Any) -> bool:
    if types.is_struct(kind):
        return any(_holds_bytes(types, kind.field(i).type) for i in range(kind.num_fields))
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)


def _of_arrow(pyarrow: Any, array: Any) -> Column:
    """The column of an Arrow array."""
    kind = array.type
    if pyarrow.types.is_dictionary(kind):
        array = array.cast(kind.value_type)
        kind = array.type
    if pyarrow.types.is_nested(kind):
        return encoded([[(cell(value),) for value in array.to_pylist()]], 1)[0]
    coded = array.combine_chunks().dictionary_encode(null_encoding="encode")
    chunks = coded.chunks if hasattr(coded, "chunks") else [coded]
    parts = [
        [Column([cell(x) for x in chunk.dictionary.to_pylist()], chunk.indices.to_numpy().astype(np.int32))]
        for chunk in chunks
    ]
    return concatenated(parts, 0)
