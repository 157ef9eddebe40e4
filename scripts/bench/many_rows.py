"""How long a table of many pictures takes to open, and how much memory: CSV, Parquet, JSON lines, each in a process.

    python scripts/bench/many_rows.py
    python scripts/bench/many_rows.py --rows 100000 --folder DIR

It makes so many empty files, a thousand a folder, and tables of their paths, labels (1,000 classes), groups and splits.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from jaxcls.cli.entry import entry_point

COLUMNS = ("path", "label", "group", "split")
FORMS = ("csv", "parquet", "jsonl")


def rows(n: int) -> Iterator[tuple[str, ...]]:
    """(path, label, group, split) of n pictures; nine tenths train."""
    for i in range(n):
        name, split = f"{i // 1000:04d}/picture_{i:07d}.jpg", "train" if i < 0.9 * n else "val"
        yield name, f"class_{i % 1000:03d}", f"patient_{i >> 2}", split


def make(folder: Path, n: int) -> None:
    """The files, and a table of each form."""
    import pyarrow
    from pyarrow import parquet

    found = [*rows(n)]
    for path, *_ in found:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).touch()
    with open(folder / "rows.csv", "w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *found])
    with open(folder / "rows.jsonl", "w") as file:
        file.writelines(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in found)
    columns = dict(zip(COLUMNS, map(list, zip(*found, strict=True)), strict=True))
    parquet.write_table(pyarrow.table(columns), folder / "rows.parquet")


def measure(file: str) -> str:
    """Seconds and memory of opening a table, in this process."""
    from jaxcls.data import sources

    before, wall, cpu = _peak(), time.perf_counter(), time.process_time()
    found = sources.find(f"table/{file}")
    took = f"{time.process_time() - cpu:.1f} CPU s, {time.perf_counter() - wall:.1f} s"
    counts = ", ".join(f"{len(source):,} {split}" for split, source in found.items())
    return f"{Path(file).name}: {counts}; {took}; peak {_peak():.0f} MiB ({before:.0f} before)"


def _peak():
    """MiB. Not of `resource`, whose figure is that of the parent before it started this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 2**10


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where the files are made (default: the system's temporary folder)")
    parser.add_argument("--measure", metavar="FILE", help="opens this table alone")
    args = parser.parse_args(argv)
    if args.measure:
        print(measure(args.measure), flush=True)
        return 0
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        make(Path(folder), args.rows)
        for form in FORMS:
            subprocess.run([sys.executable, __file__, "--measure", f"{folder}/rows.{form}"], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
