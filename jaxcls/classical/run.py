"""A classical baseline from a config's data to `results.json`, in the form in which a training run leaves its own."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files, metrics
from jaxcls.classical import classifier, hog, pictures, sift
from jaxcls.classical.options import Options
from jaxcls.data import checks, windows
from jaxcls.data.base import Source, multilabel, refuse_clips, subset
from jaxcls.data.splits import stratified
from jaxcls.errors import Problems, UserError
from jaxcls.logs.logger import Logger
from jaxcls.text import printable
from jaxcls.training import data, predictions, same_run
from jaxcls.types import Figures, PathLike

DATA = ("name", "dir", "validation", "split_ratios", "group_by", "channels", "window")  # of config.data, what counts
SIDES = {"hog": 128, "sift": 128, "pixels": 32}  # of pictures whose sizes differ
LEAST = {"hog": hog.LEAST, "sift": sift.LEAST, "pixels": 1}  # of pictures of one size, which are enlarged to it
STEP = 0  # there are no steps: of every file and figure that names one
NOTE_SECONDS = 10.0  # between two lines of progress


def run(config: Any, options: Options, workdir: PathLike) -> dict[str, Figures]:
    """Describes, fits, chooses C on validation, and evaluates on test, which is looked at once, at the end.

    Writes into the workdir: `config.json` (the data and the options), `results.json` and `eval/<split>-0.npz` as a
    training run does, `metrics.jsonl`, and `classical.json` (C, its scores, seconds, versions, classes).

    Args:
      config: a config (jaxcls.defaults); only its seed and the keys of data in `DATA` count.
      options: of the baseline.
      workdir: of the files.

    Returns:
      What `results.json` holds: split -> figures.

    Raises:
      UserError: bad options or data, unreadable pictures, a missing package, a workdir of another run.
    """
    options, workdir = options.checked(), Path(workdir)
    stored = to_store(config, options)
    same_run.check(same_run.to_json(stored), workdir)
    print(f"opening {printable(config.data.name)} ...", flush=True)
    sources = open_checked(config, options)
    grid = grid_of(options.C, "validation" in sources)
    with Logger(workdir, total_steps=STEP, steps_per_epoch=1) as log:
        sizes = ", ".join(f"{split} {len(source):,}" for split, source in sources.items())
        log.note(f"data {config.data.name}: {len(sources['train'].classes)} classes; {sizes} pictures")
        results, record = _run(sources, config, options, grid, workdir, log)
        # Last, so that a run which fails keeps nobody from trying other options in the same workdir.
        files.write_json(workdir / "config.json", same_run.to_json(stored))
        files.write_json(workdir / "classical.json", record)
        files.write_json(workdir / "results.json", results)
        _summarise(results, record, stored, workdir, log)
    return results


def _run(sources, config, options, grid, workdir, log):
    """(results, what `classical.json` holds)."""
    seconds, table, train = {}, {}, sources["train"]
    with _timed(seconds, "vocabulary"):
        describe, size, channels = describer(train, config, options, log)
    if options.features != "sift":
        del seconds["vocabulary"]  # there is none

    def features(name):
        with _timed(seconds, f"features of {name}"):
            source = sources[name]
            window = windows.checked(config.data.window)
            images = pictures.read(source, range(len(source)), size=size, channels=channels, window=window)
            table[name] = (_stack(map(describe, images), len(source), f"{name} features", log), source.labels)
        log.note(f"{name}: {table[name][0].shape[1]:,} features of a picture, {seconds[f'features of {name}']:.1f} s")

    for name in ("train", "validation"):
        if name in sources:
            features(name)
    with _timed(seconds, "fits"), log.waiting(f"fitting {options.classifier} for {len(grid)} value(s) of C"):
        model, C, scores = classifier.choose(
            table["train"],
            table.get("validation"),
            grid=grid,
            note=log.note,
            classes=len(train.classes),
            kind=options.classifier,
            seed=config.seed,
            balanced=options.balanced,
            smote=options.smote,
        )
    if "test" in sources:
        features("test")
    results = judge(model, table, workdir, log)
    return results, {
        "features": table["train"][0].shape[1],
        "side": size,
        "C": C,
        "validation_accuracy_by_C": scores,
        "seconds": {name: round(took, 2) for name, took in seconds.items()},
        "classes": list(train.classes),
        "data": {"name": config.data.name, "fingerprint": train.fingerprint},
        "versions": versions(),
    }


def judge(
    model: Any, table: dict[str, tuple[np.ndarray, np.ndarray]], workdir: Path, log: Logger
) -> dict[str, Figures]:
    """Evaluates on validation and test, and writes predictions and figures as a training run does.

    Args:
      model: has `logits(features)`.
      table: split -> (features [n, d], labels [n]).
      workdir, log: of the run.

    Returns:
      split -> figures, of the test split where there is one, else of validation.
    """
    results: dict[str, Figures] = {}
    for name in ("validation", "test"):
        if name in table:
            figures, predicted = predict(model, *table[name])
            predictions.save(workdir, name, STEP, predicted, figures)
            log.scalars(STEP, figures, split=name)
            interval = metrics.wilson_interval(figures["correct"], figures["count"])
            results = {name: {**figures, "step": STEP, "interval": interval}}  # the last one: test where there is one
    return results


def grid_of(given: tuple[float, ...], selects: bool) -> tuple[float, ...]:
    """The values of C to choose from. Raises UserError for several without a validation split to choose on."""
    grid = given or (classifier.GRID if selects else (classifier.DEFAULT_C,))
    if not selects and len(grid) > 1:
        raise UserError("there is no validation split to choose C on; give one value, such as --C 0.01.")
    return grid


def predict(model: Any, features: np.ndarray, labels: np.ndarray) -> tuple[Figures, dict[str, np.ndarray]]:
    """(figures, predictions) of a split, as `evaluate.Measure` gives them."""
    logits, labels = model.logits(features), np.asarray(labels, np.int32)
    rows = np.arange(len(labels), dtype=np.int32)
    return metrics.of_logits(logits, labels), {"logits": logits, "label": labels, "index": rows}


def to_store(config: Any, options: Options) -> Any:
    """A ConfigDict of what counts: data and seed of the config, the options as fields of a model.

    With it `same_run.check` keeps baselines and training runs, or baselines of other options, apart.
    """
    from ml_collections import ConfigDict

    data = {key: config.data[key] for key in DATA}
    name = f"{options.features}+{options.classifier}"
    return ConfigDict({"seed": config.seed, "data": data, "model": {"name": name, "fields": options.__dict__}})


def open_checked(config: Any, options: Options) -> dict[str, Source]:
    """The same splits as a training run of this config has, looked through for unreadable pictures.

    Raises:
      UserError: with a line for each thing that cannot work.
    """
    sources, problems = data.open_sources(config), Problems()
    refuse_clips(next(iter(sources.values())), "jaxcls baseline")
    if any(map(multilabel, sources.values())):
        raise UserError(f"{config.data.name} has sets of labels, and a baseline learns one class a picture.")
    if options.train_limit and options.train_limit < len(sources["train"]):
        rest = len(sources["train"]) - options.train_limit
        rows, _ = stratified(sources["train"].labels, (options.train_limit, rest), config.seed)
        sources["train"] = subset(sources["train"], rows)
    with problems.noted():
        checks.labels(sources)
    for split, source in sources.items():
        with problems.noted():
            window = windows.checked(config.data.window)
            what, channels = f"{split} of {config.data.name}", config.data.channels or 3
            checks.pictures(source, what, print, seconds=1, channels=channels, window=window)
    with problems.noted():
        if len(sources) == 1:
            raise UserError("there is neither a test nor a validation split to evaluate on.")
    problems.refuse()
    return sources


def describer(
    source: Any, config: Any, options: Options, log: Logger
) -> tuple[Callable[[np.ndarray], np.ndarray], int | None, int]:
    """(picture -> feature vector, side of the pictures, their channels); what is learned, of training pictures alone.

    Raises:
      UserError: where pictures are too small for a descriptor.
    """
    kind = options.features
    size = pictures.side(source, options.size, default=SIDES[kind], least=LEAST[kind])
    own = source.images.shape[-1] if hasattr(source, "images") else config.data.channels or 3
    channels = 1 if options.colour == "grey" else own
    if kind == "pixels":
        return pictures.pixels, size, channels
    if kind == "hog":
        hog.cell_side(source.images.shape[1:] if size is None else (size, size), options.cell)
        colour = options.colour if channels == 3 else "grey"
        return functools.partial(hog.describe, cell=options.cell, colour=colour), size, channels
    rows = sift.sample_rows(len(source), config.seed)
    with log.waiting(f"learning {options.words} words from {len(rows):,} training pictures"):
        window = windows.checked(config.data.window)
        images = pictures.read(source, rows, size=size, channels=channels, window=window)
        vocabulary = sift.learn(images, words=options.words, seed=config.seed, keypoints=options.keypoints)
    describe = functools.partial(
        sift.describe,
        vocabulary=vocabulary,
        keypoints=options.keypoints,
        pyramid=options.pyramid,
        weighting=options.weighting,
    )
    return describe, size, channels


def versions() -> dict[str, str]:
    """Versions of what a result depends on, as far as installed."""
    from importlib.metadata import PackageNotFoundError, version

    installed = {}
    for name in ("jaxcls", "numpy", "pillow", "scikit-learn", "scikit-image", "opencv-python-headless"):
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def _stack(vectors: Iterable[np.ndarray], n: int, what: str, log: Logger) -> np.ndarray:
    """The n vectors as one float32 array, with a line of progress now and then."""
    table, noted = np.empty((n, 0), np.float32), time.monotonic()
    for row, vector in enumerate(vectors):
        if row == 0:
            table = np.empty((n, len(vector)), np.float32)
        table[row] = vector
        if time.monotonic() - noted > NOTE_SECONDS:
            noted = time.monotonic()
            log.note(f"{what}: {row + 1:,} of {n:,} pictures")
    return table


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Notes the wall time of a block in a dict."""
    began = time.monotonic()
    yield
    seconds[name] = time.monotonic() - began


def _summarise(results, record, stored, workdir, log):
    rows, scores = [], record["validation_accuracy_by_C"]
    for split, figures in results.items():
        chosen = " (it chose C, so this is optimistic)" if split == "validation" and len(scores) > 1 else ""
        rows.append((f"{split} accuracy", metrics.describe(figures) + chosen))
    how = "chosen on validation" if len(scores) > 1 else "not chosen"
    rows.append(("classifier", f"{record['features']:,} features of a picture, C={record['C']:g}, {how}"))
    rows.append(("seconds", ", ".join(f"{name} {took:.1f}" for name, took in record["seconds"].items())))
    rows.append(("figures", f"{workdir}/results.json, {workdir}/classical.json, {workdir}/eval/"))
    log.summary(f"{stored.model.name} on {stored.data.name}", rows, [])
