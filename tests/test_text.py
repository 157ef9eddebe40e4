"""Text on its way to terminals and spreadsheets."""

import csv
import io
import json
import re

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings
from rich.console import Console

from jaxcls import text
from jaxcls.data.cleaning import review
from jaxcls.data.cleaning.findings import Finding
from jaxcls.logs.logger import Logger
from jaxcls.measure import markdown
from jaxcls.predict import output
from jaxcls.predict.progress import Progress

EVIL = (
    "\x1b[31mred\x1b[0m\r\n\u202etac\x07\x9b2J\x7f\udc80"  # colour, line ends, reversed, a bell, CSI in one byte, DEL
)
# C0 and C1 codes and DEL (ECMA-48), marks of direction (Unicode UAX 9), separators of lines; by number, not by Python
UNSAFE = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@settings(max_examples=60)
@given(st.text(st.characters(codec=None), max_size=30), st.integers(4, 40))
@example(EVIL, 12)
def test_no_control_reaches_a_terminal(name, most):
    whole, cut = text.printable(name), text.printable(name, most)
    assert not UNSAFE.search(whole) and "\n" not in whole
    assert len(cut) <= most and (cut == whole or len(cut) == most)
    assert not UNSAFE.search(text.lines(name)) and text.lines(name).count("\n") == name.count("\n")


def test_what_can_be_printed_stays():
    assert text.printable("Größe 猫 🐈 é-x\\n.png") == "Größe 猫 🐈 é-x\\n.png"
    assert text.printable("\x1b[31m\n\u202e") == r"\x1b[31m\n\u202e"
    assert text.printable("a" * 50 + "b" * 50, 13) == "aaaaaaaa…bbbb"


@settings(max_examples=100)
@given(st.text(st.sampled_from("'=+-@\t\r\n＝1.5ea"), max_size=6))
@example("=HYPERLINK(0)")
@example("'=1")
@example("'")
def test_cells_are_no_formulas_and_come_back(name):
    cell = text.cell(name)
    assert text.from_cell(cell) == name
    if cell[:1] in tuple("=+-@\t\r\n＝"):
        assert cell == "" or re.fullmatch(r"[+-](\d+\.?\d*|\.\d+)(e[+-]?\d+)?", cell)


@pytest.mark.parametrize("value", [-0.5, "-0.5", "+1e-3", 7, True, "a=b", "cat", "", None])
def test_numbers_and_plain_text_are_cells_as_they_are(value):
    assert text.cell(value) == value


def row(**changes):
    top = [{"class": EVIL, "probability": 0.7}, {"class": "=cmd|' /C calc'!A0", "probability": -0.5}]
    return {"path": "@x\x1b]0;title\x07.png", **top[0], "top": top, "set": [EVIL, "b"], **changes}


def test_the_table_of_predictions_has_a_line_a_picture():
    classes = [EVIL, "=cmd|' /C calc'!A0", "x" * 400]
    table = output.Table(classes, 2, False, beside=("set",))
    for line in (table.header(), table.text(row()), table.text(row(error="no picture"))):
        assert line.count("\n") == 1 and not UNSAFE.search(line) and len(line) < 400
    assert table.width == 28


def test_the_csv_of_predictions_has_no_formula_and_json_is_exact():
    form = output.Csv([], 2, False)
    (cells,) = csv.DictReader(io.StringIO(form.header() + form.text(row())))
    assert cells["path"] == "'" + row()["path"] and cells["class_2"] == "'=cmd|' /C calc'!A0"
    assert cells["probability_2"] == "-0.5" and cells["class"] == EVIL
    assert json.loads(output.JsonLines().text(row())) == row()


def test_notes_of_a_prediction_are_clean(capsys):
    Progress().note(EVIL.replace("\n", ""))
    assert not UNSAFE.search(capsys.readouterr().err)


def test_findings_are_no_formulas_and_come_back(tmp_path):
    paths = ["=1+1/a.png", "-2/b.png", "'@x/c.png", "\tt/d.png", "-3", "plain/e.png"]
    found = [Finding(row=i, path=p, split="", label=p, problem="blank", score=1.0, suggestion="remove", action="move",
                     group=0, detail="") for i, p in enumerate(paths)]  # fmt: skip
    review.write_csv(tmp_path / "findings.csv", found)
    with open(tmp_path / "findings.csv", encoding="utf-8-sig", newline="") as file:
        cells = [each["path"] for each in csv.DictReader(file)]
    assert cells == ["'=1+1/a.png", "'-2/b.png", "''@x/c.png", "'\tt/d.png", "-3", "plain/e.png"]
    assert review.to_move(tmp_path / "findings.csv") == paths


def test_comparisons_and_the_log_are_clean(tmp_path):
    lines = markdown.table(("run", "x"), [(EVIL, "1"), ("long" * 99, "2")])
    assert lines.count("\n") == 3 and not UNSAFE.search(lines) and max(map(len, lines.splitlines())) < 100
    out = io.StringIO()
    with Logger(tmp_path, total_steps=1, steps_per_epoch=1, console=Console(file=out)) as log:
        log.note(f"skipped {EVIL}")
        log.summary("done", [("data", EVIL)], [("see", EVIL)])
    assert not UNSAFE.search(out.getvalue()) and "\\x1b[31mred" in out.getvalue()
