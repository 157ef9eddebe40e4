"""The page of a search: sound HTML, every trial, nothing that is not escaped."""

import csv
import json
import math
import re

import pytest
from fake_searches import made, repeat
from html_page import Page

from jaxcls.criteria import CLASSIFICATION
from jaxcls.report import search, search_figure
from jaxcls.report.search_scale import Scale, scales
from jaxcls.text import from_cell
from jaxcls.tune.repeated import repeats

CASES = {
    "forty trials": {},
    "one trial": {"n": 1, "failures": 0, "pruned": 0},
    "failures only": {"n": 12, "failures": 1.0},
    "two objectives": {"two": True},
    "none": {"n": 0},
    "more than the table shows": {"n": 70, "epochs": 3},
    "one parameter": {"n": 9, "text": "schedule.peak=log(1e-3,1)"},
    "a dimension of one value": {"n": 9, "text": "schedule.peak=log(0.1,0.1); batch_size=choice(32)"},
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder, made_pages = tmp_path_factory.mktemp("searches"), {}

    def page(case):
        if case not in made_pages:
            path = folder / str(len(made_pages))
            path.mkdir()
            made_pages[case] = made(path, **CASES[case]), path
        record, path = made_pages[case]
        return record, Page((path / "search.html").read_text(encoding="utf-8")), path

    return page


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_search_gives_a_sound_page(pages, case):
    record, page, path = pages(case)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids) and {link["href"] for link in page.all("a")} == {f"#{name}" for name in ids}
    assert not {"script", "link", "iframe", "object", "img"} & {name for name, _ in page.elements}
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    drawn = " ".join(
        value or ""
        for name, attributes in page.elements
        if name in ("path", "rect", "line", "circle", "text")
        for value in attributes.values()
    )
    assert "nan" not in drawn and "inf" not in drawn and not re.search(r"\b(nan|None|inf)\b", page.text)
    stored = json.loads((path / "search.json").read_text())
    assert search.page(stored) == (path / "search.html").read_text(encoding="utf-8")  # of the file alone
    html = (path / "search.html").read_text(encoding="utf-8")
    for trial in record["trials"]:
        assert f'<th scope="row" class="number">{trial["number"]}</th>' in html


def test_the_page_says_what_is_best_and_how_to_train_with_it(pages):
    record, page, _ = pages("forty trials")
    best = record["trials"][record["best"][0]]
    assert f"Trial {best['number']} is the best of 40 trials" in page.text
    assert f"{100 * best['values'][0]:.2f} %" in page.text.replace("\N{NO-BREAK SPACE}", " ")
    lines = re.search(r"jaxcls train .*?--workdir=runs/best", page.text)[0]
    assert lines.replace(" \\", "") == record["command"]
    assert page.text.count("is the best of") == page.text.count("jaxcls train") == 1
    parallel = search.page(record).split('id="parallel"')[1].split("</section>")[0]
    (strongest,) = re.findall(r'class="line s1"[^>]*><title>trial (\d+):', parallel)
    assert int(strongest) == best["number"]
    counts = {state: sum(t["state"] == state for t in record["trials"]) for state in ("complete", "pruned", "failed")}
    assert all(f"{count} {state}" in page.text for state, count in counts.items())
    assert "loss is not finite" in page.text and "Repeat the best ones" in page.text


def test_a_search_of_failures_recommends_nothing(pages):
    record, page, _ = pages("failures only")
    assert record["command"] == "" and "jaxcls train" not in page.text
    assert "Not one of 12 trials has a result" in page.text


def test_every_trial_with_a_value_is_a_dot_in_each_slice(pages):
    record, page, _ = pages("one parameter")
    valued = [t["number"] for t in record["trials"] if t["values"]]
    path_text = search.page(record)
    section = path_text[path_text.index('id="slices"') : path_text.index('id="trials"')]
    assert sorted(map(int, re.findall(r"<title>trial (\d+)[^<]*schedule.peak", section))) == valued


def test_repetitions_stand_above_all_else(tmp_path):
    record = made(tmp_path, 12, failures=0)
    for seed in range(3):
        repeat(tmp_path, record["best"][0], [0.9, 0.95 + 0.01 * seed], seed)
    record["repeats"] = repeats(tmp_path, CLASSIFICATION[0])
    text = Page(search.page(record)).text.replace("\N{NO-BREAK SPACE}", " ")
    values = record["repeats"][0]["validation"]
    sd = 100 * math.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2)
    assert f"{100 * sum(values) / 3:.2f} % ± {sd:.2f} (n = 3)" in text and "Repeat the best ones" not in text
    assert "95.00 % ± 1.00 (n = 3)" in text  # on test


HOSTILE = "<script>alert(1)</script>|\x1b[31m\u202e=cmd()"


def test_text_that_others_gave_is_escaped_everywhere(tmp_path):
    record = made(tmp_path, 12, seed=2)
    record["name"] = HOSTILE
    record["space"].append({"key": HOSTILE, "kind": "choice", "choices": [HOSTILE, "b"], "text": HOSTILE})
    for trial in record["trials"]:
        trial["params"][HOSTILE] = HOSTILE
        trial["why"] = trial["why"] and f"=1+1 {HOSTILE}\n{HOSTILE}"
    assert any(trial["why"] for trial in record["trials"])
    search.write(record, tmp_path)
    page = (tmp_path / "search.html").read_text()
    Page(page)
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    markdown = (tmp_path / "search.md").read_text()
    assert "\x1b" not in markdown and "\u202e" not in markdown
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(table) == 14 and len({line.replace("\\|", "").count("|") for line in table}) == 1
    with open(tmp_path / "search.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert all(not cell.startswith(("=", "+", "@")) for row in rows for cell in row)
    assert any(from_cell(cell).startswith("=1+1 <script>") for row in rows for cell in row)


@pytest.mark.parametrize(
    "kind, low, high, middle",
    [("log", 1e-3, 10.0, 0.1), ("pow2", 32, 512, 128), ("linear", 0.0, 1.0, 0.5), ("int", 1, 3, 2)],
)
def test_an_axis_is_that_of_its_kind(kind, low, high, middle):
    rows = [{"params": {"k": low}}, {"params": {}}]
    (scale,) = scales([{"key": "k", "kind": kind, "low": low, "high": high}], rows)
    assert [scale.at(x) for x in (low, middle, high)] == pytest.approx([0, 0.5, 1])
    for at, text in scale.marks():
        assert scale.at(float(text)) == pytest.approx(at, abs=1e-6) and -1e-3 <= at <= 1 + 1e-3
    assert math.isnan(scale.at("x")) and math.isnan(scale.at(True)) and math.isnan(scale.at(None))


def test_an_axis_of_choices_has_a_place_for_each():
    scale = Scale("k", "choice", names=("a", (1, 2), True))
    assert [scale.at(x) for x in ("a", [1, 2], True)] == pytest.approx([1 / 6, 0.5, 5 / 6]) and math.isnan(
        scale.at("b")
    )
    assert scales([{"key": "k", "kind": "log", "low": 1, "high": 2}], [{"params": {}}]) == []


@pytest.mark.parametrize("best", ["max", "min"])
def test_the_best_and_the_better_half_are_inside_the_axis(best):
    objective = {"name": "loss", "best": best, "share": False}
    values = [1.0, 1.1, 1.2, 1.3, 1e6] if best == "min" else [-1.0, -1.1, -1.2, -1.3, -1e6]
    low, high = search_figure.focus(objective, values)
    assert all(low <= x <= high for x in values[:4]) and not low <= values[4] <= high
