"""Predicts the classes of pictures with a trained model, any number of them.

    python scripts/predict.py runs/mine photo.jpg                       # a table
    python scripts/predict.py runs/mine pictures/ --out answers.csv     # every picture of a folder, at any depth
    python scripts/predict.py runs/mine 'scans/**/*.png' --format jsonl --top 3 --heatmaps maps
    find /archive -name '*.jpg' | python scripts/predict.py runs/mine - --out answers.jsonl

RUN is a run's workdir (its best checkpoint, the newest where none is best; --step for another) or the folder of one
step; nothing else is needed, the training data neither. Pictures are treated as in the run's evaluation, so a test
picture gets the logits that the evaluation stored. Probabilities are calibrated, and the class is what stored
thresholds or costs decide, where scripts/calibrate.py has left them. docs/predicting.md has the formats.

Rows come in the order of the input. --out is replaced at the start and then written batch by batch in whole lines:
what is there after Ctrl-C is valid. A picture that cannot be read gets a row with the reason, and a line on stderr.

Exit status: 0 where something was predicted; 1 where nothing could be; 2 where an option or the run cannot be used;
130 after Ctrl-C.
"""

import argparse
import collections
import contextlib
import glob
import itertools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from predict_output import Heatmaps, open_output
from predict_progress import Interruption, Progress

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError

NO_PICTURES = "there are no pictures in this folder (.jpg, .png, .webp, .bmp, .gif, .tif or .ppm)"


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    with Interruption() as interruption:
        return predict(args, interruption)


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("run", metavar="RUN", help="a run's workdir, or the folder of one step")
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="files, folders, patterns; -: paths from stdin")
    parser.add_argument("--format", choices=("table", "jsonl", "csv"), help="default: by the name of --out, else table")
    parser.add_argument("--out", metavar="FILE", type=Path, help="instead of the standard output")
    parser.add_argument("--top", type=positive, default=5, metavar="K", help="how many classes (default %(default)s)")
    parser.add_argument("--heatmaps", metavar="DIR", type=Path, help="PNGs that show what each answer rests on")
    parser.add_argument("--batch", type=positive, default=32, metavar="N", help="pictures at a time (%(default)s)")
    parser.add_argument("--threads", type=positive, metavar="N", help="that read pictures (default: one a core)")
    parser.add_argument("--step", type=int, metavar="N", help="of the run's checkpoints; default: the best, or newest")
    args = parser.parse_args(argv)
    if args.format is None:
        kinds = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
        args.format = kinds.get(args.out.suffix.lower() if args.out else "", "table")
    return args


def positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def predict(args, interruption) -> int:
    """Predicts as the arguments say; returns the exit status."""
    from jaxcls import main as command

    command.set_up_jax(command.parse([]))
    from jaxcls.data.pipeline import default_threads
    from jaxcls.predict.predictor import Predictor

    predictor = Predictor.load(args.run, args.step, sizes=(1, min(8, args.batch), args.batch))
    heatmaps = Heatmaps(args.heatmaps, predictor, interruption) if args.heatmaps else None
    fields = {"classes": predictor.classes, "top": min(args.top, len(predictor.classes)), "heatmap": bool(heatmaps)}
    with open_output(args.format, args.out, interruption, **fields) as output:
        progress = Progress(quiet=output.terminal)
        progress.note(title(predictor))
        for note in predictor.notes:
            progress.note(f"note: {note}")
        if "-" not in args.pictures:
            progress.count(lambda: sum(1 for _ in paths(args.pictures)))
        interruption.closing = lambda: progress.close(output.name, interrupted=True)
        work = Reading(predictor)
        entries = ahead(work, paths(args.pictures), args.threads or default_threads(), 2 * args.batch)
        with contextlib.closing(entries):
            for number, batch in batches(entries, args.batch):
                rows = answer(predictor, number, batch, args.top, heatmaps)
                output.write(rows)
                for row in rows:
                    if "error" in row:
                        progress.note(f"skipped {printable(row['path'])}: {row['error']}")
                progress.add(len(rows), sum("error" in row for row in rows))
        progress.close(output.name)
    return 0 if progress.done > progress.failed else 1


def title(predictor) -> str:
    """A line about the model."""
    weights = ", averaged weights" if predictor.averaged else ""
    found = predictor.decision
    calibrated = f"; calibrated (temperature {found['temperature']:.3g})" if found else ""
    kind = "costs" if found and found["costs"] else "thresholds"
    decides = f"; the class is what the stored {kind} decide" if predictor.decides else ""
    return f"{predictor.name}, step {predictor.step}{weights}: {len(predictor.classes)} classes{calibrated}{decides}"


def printable(path: str) -> str:
    """A path for people: no control characters, no broken ones."""
    return "".join(c if c.isprintable() else "?" for c in path)


def paths(arguments):
    """(path, None) of every picture of files, folders, patterns and, for "-", lines of stdin; (path, why) of others."""
    for argument in arguments:
        lines = (line.rstrip("\r\n") for line in sys.stdin) if argument == "-" else (argument,)
        for text in filter(None, lines):
            if os.path.isdir(text):
                yield from walk(text)
            elif os.path.isfile(text) or not glob.has_magic(text):
                yield text, None if os.path.exists(text) else "there is no such file or folder"
            else:
                found = sorted(glob.glob(text, recursive=True))
                yield from itertools.chain.from_iterable(walk(p) if os.path.isdir(p) else [(p, None)] for p in found)
                if not found:
                    yield text, "there is nothing that matches this pattern"


def walk(folder: str):
    """(path, None) of every picture of a folder, by name; hidden files and links to folders are left out."""
    from jaxcls.data.folder import SUFFIXES

    problems, empty = [], True
    for place, folders, files in os.walk(folder, onerror=problems.append):
        hidden = (".", "__MACOSX")
        folders[:] = sorted(name for name in folders if not name.startswith(hidden))
        for name in sorted(files):
            if not name.startswith(hidden) and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield os.path.join(place, name), None
                empty = False
    for problem in problems:
        yield str(problem.filename), problem.strerror or str(problem)
    if empty and not problems:
        yield folder, NO_PICTURES


class Reading:
    """Reads and prepares the picture of an entry of `paths`: (path, uint8 array or None, reason or None)."""

    def __init__(self, predictor):
        self.predictor = predictor

    def __call__(self, entry):
        path, problem = entry
        if problem:
            return path, None, problem
        try:
            with open(path, "rb", buffering=0) as file:
                encoded = file.read()
            return path, self.predictor.prepare(encoded, path), None
        except OSError as error:
            return path, None, f"cannot be read ({error.strerror or error})"
        except UserError as error:
            return path, None, str(error).removeprefix(f"{path}: ")
        except MemoryError:
            return path, None, "too large for the memory of this machine"


def ahead(function, items, threads: int, most: int):
    """Iterates over function(item) in the order of the items, computed by threads; at most so many are held at once."""
    queue, pool = collections.deque(), ThreadPoolExecutor(threads)
    try:
        for item in items:
            queue.append(pool.submit(function, item))
            if len(queue) >= most:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batches(entries, size: int):
    """(number of the first entry, list of entries) with `size` pictures each, or fewer where many cannot be read."""
    number, batch, good = 0, [], 0
    for entry in entries:
        batch.append(entry)
        good += entry[1] is not None
        if good == size or len(batch) == 4 * size:
            yield number, batch
            number, batch, good = number + len(batch), [], 0
    if batch:
        yield number, batch


def answer(predictor, number: int, batch, top: int, heatmaps) -> list[dict]:
    """The rows of a batch: path with class, probability and top, or with error."""
    import numpy as np

    pictures = [picture for _, picture, _ in batch if picture is not None]
    found = iter(())
    if pictures:
        images = np.stack(pictures)
        answers = predictor.answers(predictor.logits(images), top)
        if heatmaps:
            names = [path for path, picture, _ in batch if picture is not None]
            places = [number + i + 1 for i, (_, picture, _) in enumerate(batch) if picture is not None]
            heatmaps.draw(images, answers, names, places)
        found = iter(answers)
    return [
        {"path": path, "error": problem} if picture is None else {"path": path, **next(found)}
        for path, picture, problem in batch
    ]


if __name__ == "__main__":
    sys.exit(main())
