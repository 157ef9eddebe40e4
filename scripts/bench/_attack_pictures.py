"""`attack.py pictures`: broken and odd pictures, each alone and all in a folder, through what reads pictures."""

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _attack_run import Ended, command, environment

from jaxcls.text import printable

SECONDS, MEBIBYTES = 2, 500  # of a picture, of the processor, over what the command has taken before
TRIES = 3  # of a file beyond a bound: other jobs make the processor slower, never faster
HERE = Path(__file__).resolve().parent
EVERY = 12  # of --quick
TINY = ["--config=folder:tiny", "--config.duration=3 steps", "--config.data.workers=0"]
SAME = "--config.data.eval_transform=('resize(256)', 'center_crop(224)')"  # what the worker does with files


def run(folder: Path, quick: bool, say: Callable[[str], None]) -> list[str]:
    """Makes the files in an empty folder, attacks with them, prints two tables; returns a line for each fault."""
    made_by = [sys.executable, str(HERE / "_attack_made.py"), str(folder), *([str(EVERY)] if quick else [])]
    subprocess.run(made_by, env=environment(), check=True)
    made = json.loads((folder / "made.json").read_text())
    faults: list[str] = []
    alone = each(folder / "attack", [path for _, path, _ in made])
    say(f"{len(made):,} files, each alone:\n")
    for line in table(made, alone, faults):
        say(line)
    refused = {path for _, path, expected in made if expected != "left out" and not is_read(alone[path])}
    there = {path for _, path, expected in made if expected != "left out"}
    say("\nAll of them in one folder of two classes, and 80 clean pictures for comparison:\n")
    say("| command | exit status | seconds | CPU s | MiB | the same on clean pictures: CPU s, MiB |")
    say("|---|---|---|---|---|---|")
    for line in commands(folder, there, refused, faults):
        say(line)
    return faults


def each(folder: Path, paths: list[str]) -> dict[str, dict[str, Any]]:
    """Path -> the record of `_attack_worker.py`; what lies beyond a bound is tried again, and the least counts."""
    found = _each(folder, paths)
    for _ in range(TRIES - 1):
        again = [
            p for p, r in found.items() if "answers" in r and (r["seconds"] > SECONDS or r["mebibytes"] > MEBIBYTES)
        ]
        for path, record in _each(folder, again).items():
            for figure in ("seconds", "mebibytes"):
                found[path][figure] = min(found[path][figure], record.get(figure, found[path][figure]))
    return found


def _each(folder, paths):
    if not paths:
        return {}
    found: dict[str, dict[str, Any]] = {path: {} for path in paths}
    worker = [sys.executable, str(HERE / "_attack_worker.py")]
    asked = "".join(json.dumps(str(folder / path)) + "\n" for path in paths)
    ended = subprocess.run(worker, input=asked, env=environment(), capture_output=True, text=True, check=True)
    for line in ended.stdout.splitlines():
        record = json.loads(line)
        found[str(Path(record["name"]).relative_to(folder))].update(record)
    return found


def is_read(record: dict[str, Any]) -> bool:
    """Whether all ways gave pixels."""
    return all(isinstance(answer, list) for answer in record.get("answers", [None]))


def table(made: list[list[str]], alone: dict[str, dict[str, Any]], faults: list[str]) -> list[str]:
    """A row for each kind and one for all; adds to the faults."""
    count: dict[str, Counter[str]] = defaultdict(Counter)
    most: dict[str, dict[str, float]] = defaultdict(lambda: {"seconds": 0.0, "mebibytes": 0.0})
    for kind, path, expected in made:
        record, name = alone[path], repr(path)
        found = ["files"]
        if record["status"] or "answers" not in record:
            found.append("crashes")
            faults.append(f"{name}: the process ended with status {record['status']}")
        else:
            lines = [answer for answer in record["answers"] if isinstance(answer, str)]
            found.append("read" if not lines else "refused")
            if any("\n" in line or "it can't be used" in line for line in lines):
                faults.append(f"{name}: {lines!r}")
            if expected and (expected == "read") != (not lines):
                faults.append(f"{name}: {found[-1]}, but should be {expected}: {lines}")
            for figure, bound in (("seconds", SECONDS), ("mebibytes", MEBIBYTES)):
                if record[figure] > bound:
                    found.append(figure)
                    faults.append(f"{name}: {record[figure]:.2f} {figure}: {record['answers']}")
                for row in (kind, "all"):
                    most[row][figure] = max(most[row][figure], record[figure])
        for row in (kind, "all"):
            count[row].update(found)
    rows = [*(row for row in count if row != "all"), "all"]
    columns = ("files", "read", "refused", "crashes", "seconds", "mebibytes")
    head = "| kind | files | read | refused in a line | crashes | over 2 s | over 500 MiB | most s, MiB |"
    return [head, "|---" * (head.count("|") - 1) + "|"] + [
        f"| {row} | {' | '.join(f'{count[row][c]:,}' for c in columns)} "
        f"| {most[row]['seconds']:.2f}, {most[row]['mebibytes']:.0f} |"
        for row in rows
    ]


def commands(folder: Path, there: set[str], refused: set[str], faults: list[str]) -> Iterator[str]:
    """Runs the commands on clean pictures and on all; yields rows, adds to the faults."""
    judged: dict[str, tuple[list[str], int, Callable[[Ended], str]]] = {
        "train, bad_pictures=skip": (
            ["train", *TINY, SAME, "--config.data.bad_pictures=skip", "--workdir={0}/run-{1}", "--data={0}/{1}"], 0,
            lambda ended: _of_skipping(folder / "run-attack", refused),
        ),
        "predict": (
            ["predict", "{0}/run-clean", "{0}/{1}", "--out={0}/{1}.jsonl"], 0,
            lambda ended: _of_rows(folder, there, refused),
        ),
        "check --full": (
            ["check", "--full", *TINY, SAME, "--workdir={0}/none", "--data={0}/{1}"], 2,
            lambda ended: _of_check(ended.errors, refused),
        ),
        "check": (["check", *TINY, SAME, "--workdir={0}/none", "--data={0}/{1}"], 2, lambda ended: ""),
        "train, bad_pictures=stop": (
            ["train", *TINY, SAME, "--workdir={0}/stop-{1}", "--data={0}/{1}"], 2, lambda ended: ""),
    }  # fmt: skip
    for name, (words, status, judge) in judged.items():
        clean, all_ = (command([word.format(folder, which) for word in words]) for which in ("clean", "attack"))
        yield (
            f"| {name} | {all_.status} | {all_.seconds:.0f} | {all_.cpu:.0f} | {all_.mebibytes:.0f} "
            f"| {clean.cpu:.0f}, {clean.mebibytes:.0f} |"
        )
        if clean.status or all_.status != status:
            faults.append(f"{name}: exit status {clean.status}, {all_.status}, not 0, {status}: {all_.errors[-300:]!r}")
        elif "Traceback" in all_.errors + all_.out:
            faults.append(f"{name}: a traceback: {all_.errors[-300:]!r}")
        elif status and not _is_told(all_.errors):
            faults.append(f"{name}: not one line for each split: {all_.errors[:300]!r}")
        elif why := judge(all_):
            faults.append(f"{name}: {why}")


def _is_told(errors: str) -> bool:
    """Whether a command that refuses the folder tells one to three lines, a split each, beside its progress."""
    lines = [line for line in errors.splitlines() if not re.match(r"decoded: [\d,]+ of", line)]
    return 1 <= len(lines) <= 3 and all(line.startswith("error: ") for line in lines)


def _of_rows(folder: Path, there: set[str], refused: set[str]) -> str:
    """What is wrong with the answers: a row for each picture, with an error where it was refused alone."""
    rows = [json.loads(line) for line in (folder / "attack.jsonl").read_text().split("\n") if line]
    found = Counter(str(Path(row["path"]).relative_to(folder / "attack")) for row in rows)
    errors = {str(Path(row["path"]).relative_to(folder / "attack")) for row in rows if "error" in row}
    return (
        _apart("a row", set(found), there)
        or _apart("an error", errors, refused)
        or "a row twice" * (len(rows) > len(found))
    )


def _of_skipping(run: Path, refused: set[str]) -> str:
    """What is wrong with the list of a run that skips: of what it drew and evaluated, in a line each."""
    lines = (run / "skipped.txt").read_text().splitlines()
    wrong = [line for line in lines if not any(line.startswith(f"{printable(path)}: ") for path in refused)]
    return f"skipped, but read alone: {wrong[:3]}" if wrong else ""


def _of_check(errors: str, refused: set[str]) -> str:
    """What is wrong with the numbers of bad pictures that a check tells, and with those that it names."""
    number = sum(int(found) for found in re.findall(r"(\d+) pictures? in [^:]* can't be used", errors))
    return "" if number == len(refused) else f"{number} pictures found, of {len(refused)}"


def _apart(what: str, found: set[str], wanted: set[str]) -> str:
    """How two sets of paths differ, "" where they don't."""
    more, fewer = sorted(found - wanted), sorted(wanted - found)
    return f"{what} too much: {more[:3]}, missing: {fewer[:3]}" if more or fewer else ""
