"""What a prediction writes: rows in three formats. Without JAX; heat maps are in `heatmaps`."""

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

from jaxcls.errors import UserError
from jaxcls.predict.progress import Interruption
from jaxcls.text import PATH, cell, printable

NAME = 28  # characters of a class in the table


# path with class, probability, top (or what predict.sets has) and perhaps heatmap and measure.doubt's; or with error
Row = Mapping[str, Any]


class Form(Protocol):
    """How rows become text."""

    def header(self) -> str:
        """What comes before the first row."""

    def text(self, row: Row) -> str:
        """A row, with its line end."""


class Table:
    """Rows for people: class, probability, picture, doubts, other classes. What is wrong is told on stderr."""

    def __init__(self, classes: Sequence[str], top: int, heatmap: bool, beside: Sequence[str] = ()):
        del heatmap  # the folder was given by hand: where they lie is known
        self.doubts = bool(beside)
        self.width = max(len(printable(name, NAME)) for name in (*classes, "class"))
        self.others = top != 1

    def header(self) -> str:
        other = "  other classes" if self.others else ""
        doubts = f"  {'in doubt':<24}" if self.doubts else ""
        return f"{'class':<{self.width}}  probability  {'picture':<40}{doubts}{other}".rstrip() + "\n"

    def text(self, row: Row) -> str:
        path, name = printable(row["path"], PATH), printable(row.get("class"), NAME)
        if "error" in row:
            return f"{'-':<{self.width}}  {'-':>11}  {path:<40}  could not be read\n"
        top = [each for each in row["top"] if each["class"] != row["class"]]
        others = ", ".join(f"{printable(each['class'], NAME)} {each['probability']:.1%}" for each in top)
        doubts = f"  {self._doubts(row):<24}" if self.doubts else ""
        start = f"{name:<{self.width}}  {row['probability']:>11.1%}  {path:<40}"
        return f"{start}{doubts}  {others}".rstrip() + "\n"

    def _doubts(self, row):
        words = [name for name in ("abstained", "outlier") if row.get(name)]
        names = [printable(name, NAME) for name in row.get("set", ())]
        one_of = f"one of {' '.join(names) if len(names) <= 3 else f'{len(names)} classes'}"
        return ", ".join(words + ([one_of] if len(names) > 1 else []))


class JsonLines:
    """One JSON object a line."""

    def __init__(self, **_: Any):
        pass

    def header(self) -> str:
        return ""

    def text(self, row: Row) -> str:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        try:
            text.encode()
        except UnicodeEncodeError:  # a path that is no UTF-8
            text = json.dumps(row, allow_nan=False)
        return text + "\n"


class Csv:
    """One row a picture: path, class, probability, class_1, probability_1, .. (with top 0 a column `p_CLASS` of each
    class in their place), then what is stored of abstained, set, energy, distance, outlier (`beside`), heatmap where
    there are any, error. Yes and no are `true` and `false`, what there are several of has `|` between. Text that a
    spreadsheet would compute stands behind an apostrophe."""

    answer = ("class", "probability")

    def __init__(self, classes: Sequence[str], top: int, heatmap: bool, beside: Sequence[str] = ()):
        ranks = [f"{what}_{i}" for i in range(1, top + 1) for what in ("class", "probability")]
        listed = ranks if top else [f"p_{name}" for name in classes]
        self.all = not top
        self.columns = ["path", *self.answer, *listed, *beside, *["heatmap"][: int(heatmap)], "error"]

    def header(self) -> str:
        return self._line(self.columns)

    def text(self, row: Row) -> str:
        top = row.get("top", ())
        flat = {f"{k}_{i}": v for i, first in enumerate(top, 1) for k, v in first.items()}
        if self.all:
            flat = {f"p_{each['class']}": each["probability"] for each in top}
        flat |= row
        return self._line([_cell(flat.get(column, "")) for column in self.columns])

    def _line(self, values):
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(values)
        return out.getvalue()


def _cell(value):
    if isinstance(value, bool):
        return str(value).lower()
    return cell("|".join(map(str, value)) if isinstance(value, list) else value)


FORMATS = {"table": Table, "jsonl": JsonLines, "csv": Csv}


class Output:
    """Rows to a file or the standard output, in whole lines. `terminal`: whether people watch them."""

    def __init__(self, form: Form, file: TextIO, name: str | None, interruption: Interruption, begun: bool = False):
        """`begun`: the file holds rows, and so a header, already."""
        self.form, self.file, self.name, self.interruption = form, file, name, interruption
        self.terminal = name is None and file.isatty()
        if not begun:
            self._put(form.header())

    def write(self, rows: Sequence[Row]) -> None:
        """Writes rows, all of them or none as far as signals go. Raises UserError where that is not possible."""
        self._put("".join(map(self.form.text, rows)))

    def _put(self, text):
        try:
            with self.interruption.held_off():
                self.file.write(text)
                self.file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UserError(f"{self.name or 'the output'} can't be written: {error.strerror or error}") from error


@contextlib.contextmanager
def open_output(form: Form, path: Path | None, interruption: Interruption, keep: int = 0) -> Iterator[Output]:
    """The Output of a format, to a file or, for None, to the standard output.

    Args:
      form: of FORMATS.
      path: of the file, which is replaced.
      interruption: what waits while a batch is written.
      keep: bytes that stay of the file, its header and whole rows; what is behind them goes.

    Raises:
      UserError: where the file can't be written.
    """
    errors = "surrogateescape"  # paths come out as the bytes that they are
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors=errors)
        yield Output(form, sys.stdout, None, interruption)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if keep:
            os.truncate(path, keep)
        mode: Literal["a", "w"] = "a" if keep else "w"
        file = open(path, mode, newline="", encoding="utf-8", errors=errors)  # noqa: SIM115  closed below
    except OSError as error:
        raise UserError(f"--out {path} can't be written: {error.strerror or error}; choose another file.") from error
    try:
        yield Output(form, file, str(path), interruption, begun=bool(keep))
    except BaseException:
        with contextlib.suppress(OSError):  # of a full disk closing fails again, and the reason is told already
            file.close()
        raise
    try:
        file.close()
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror or error}") from error
