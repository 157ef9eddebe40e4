"""Probes of a frozen network: a linear classifier or nearest neighbours on its features."""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcls import files, metrics
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.checkpoints import view
from jaxcls.classical import classifier, few_labels, protocols
from jaxcls.classical.run import STEP, grid_of, judge, versions
from jaxcls.data import checks, row_lists
from jaxcls.data.base import multilabel
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.logs.logger import Logger
from jaxcls.models.published import PUBLISHED, Published
from jaxcls.parallel import Parallel
from jaxcls.settings.reader import Reader, choose, resolve
from jaxcls.tasks import base, networks
from jaxcls.tasks.base import Task
from jaxcls.tasks.neighbours import Neighbours
from jaxcls.text import printable
from jaxcls.training import data, feeds, published_weights, same_run
from jaxcls.types import Batch, Figures, PathLike, PyTree

METHODS = ("linear", "knn")
Table = dict[str, tuple[np.ndarray, np.ndarray]]  # split -> (features float32 [n, d], labels int32 [n])
Opener = Callable[[Any, data.Data], networks.Network]  # from the config and its pictures


@dataclasses.dataclass(frozen=True)
class Options:
    """How features are judged.

    Attributes:
      method: "linear" (logistic regression on standardised features) or "knn" (`knn.Neighbours`).
      C: of linear, to choose from on validation; () for the usual grid.
      balanced: linear: weigh each class by 1 / frequency.
      smote: linear: fill up rare classes with neighbours' mixtures.
      k, temperature: of knn.
      protocol: linear: a name of `protocols.PROTOCOLS`, SGD in place of logistic regression; "" for that.
      labels: how many training pictures count, "1%" or "500"; drawn `draws` times, as many of each class. "" for all.
      rows: a list of those that count (`data.row_lists`); "" for all.
    """

    method: str = "linear"
    C: tuple[float, ...] = ()
    balanced: bool = False
    smote: bool = False
    k: int = 20
    temperature: float = 0.07
    protocol: str = ""
    labels: str = ""
    draws: int = 3
    rows: str = ""

    def check(self) -> None:
        """Raises UserError for what does not go together."""
        choose("--method", self.method, METHODS)
        if self.smote and self.method != "linear":
            raise UserError("--smote has an effect on --method linear alone; remove it.")
        if self.protocol:
            choose("--protocol", self.protocol, protocols.PROTOCOLS)
            if self.method != "linear" or self.C or self.balanced or self.smote:
                raise UserError(
                    f"--protocol {self.protocol} is --method linear, with all of it said; leave --method, --C, "
                    "--class-weight and --smote out."
                )
        if self.labels and self.rows:
            raise UserError("--labels draws training pictures and --rows lists them; give one of them.")
        if self.draws < 1:
            raise UserError("--draws must be at least 1.")


class Features(Task):
    """Predicts `{"features"}`, what the last layer of a network sees, with its variables in place of a state."""

    output = base.FEATURES

    def __init__(self, network: networks.Network, pictures: Preprocessing):
        self.network, self.pictures = network, pictures

    def predict(self, state: PyTree, batch: Batch) -> dict[str, jax.Array]:
        """`{"features"}` of a batch as it comes from the source."""
        return {"features": self.network.features(state, self.pictures.device(batch["image"]), batch)}


def config_of_run(path: PathLike) -> ConfigDict:
    """The config for the data and pictures of a run (a workdir or one step's folder).

    Raises:
      UserError: where there is no good checkpoint.
    """
    config, stored = default_config(), view.read_meta(view.find_step(path)).config
    for section in ("data", "model"):
        for key, value in stored[section].items():
            if key in config[section]:
                config[section][key] = tuple(value) if isinstance(value, list) else value
    config.precision, config.seed = stored["precision"], stored["seed"]
    return config


def run(
    config: Any, network: Opener, options: Options, workdir: PathLike, *, own: PathLike | None = None
) -> dict[str, Figures]:
    """Features of every split, once; a classifier on those of train, judged on the others.

    Writes into the workdir: `config.json`, `results.json` and `eval/<split>-0.npz` as a training run does,
    `features-<split>.npz`, and `probe.json` (what was probed and how, C and its scores). Features are used again where
    they are of the same weights, pictures and transforms.

    Args:
      config: of `config_of_run` or `published_weights.config_of`; its data, model and precision count.
      network: `of_run` or `of_weights`.
      options: how features are judged.
      workdir: of the files.
      own: workdir of the run whose pictures these are, for its stored splits; None for other pictures.

    Returns:
      split -> figures, of the test split where there is one, else of validation.

    Raises:
      UserError: for data, weights or options that cannot be used.
    """
    options.check()
    config.eval.batch_size = config.eval.batch_size or 64
    pictures = _opened(config, options, own)
    probed = network(config, pictures)
    networks.check_pictures(probed, pictures.picture, "features")
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_json(workdir / "config.json", same_run.to_json(config))
    with Logger(workdir, total_steps=STEP, steps_per_epoch=1) as log:
        found = {split: features(pictures, probed, split, workdir, log) for split in pictures.sources}
        table: Table = {split: (values[label >= 0], label[label >= 0]) for split, (values, label, _) in found.items()}
        width = table["train"][0].shape[1]
        told = {"network": probed.title, "source": dict(probed.source), "features": width}
        told |= {"classes": list(pictures.classes), "versions": versions()}
        lists = few_labels.lists(options, pictures.sources["train"], *found["train"][1:], workdir, config.seed)
        ask = functools.partial(
            _judged, options=options, classes=len(pictures.classes), seed=config.seed, told=told, log=log
        )
        if options.labels:
            results, rows = few_labels.over_draws(ask, table, found["train"], lists, workdir, log)
        else:
            (chosen,) = lists.values()
            results, rows = ask(few_labels.restricted(table, found["train"], chosen), workdir)
        files.write_json(workdir / "results.json", results)
        rows.append(("figures", f"{workdir}/results.json, {workdir}/probe.json, {workdir}/eval/"))
        log.summary(f"{options.method} probe of {probed.title} on {config.data.name}", rows, [])
    return results


def _opened(config, options, own):
    """The pictures to probe with. Raises UserError for what can't be, before features are computed."""
    print(f"opening {printable(config.data.name)} ...", flush=True)
    pictures = data.read(Reader(resolve(config)), trains=False, workdir=own)
    if own is not None:
        same_run.check_evaluated(pictures, list(pictures.sources), own, False, print)
    if not pictures.labelled:
        raise UserError(f"{config.data.name} has no labels to probe with; name labelled pictures with --data.")
    if multilabel(pictures.sources["train"]):
        raise UserError(f"{config.data.name} has sets of labels, and a probe learns one class a picture.")
    if len(pictures.sources) == 1:
        raise UserError("there is neither a test nor a validation split to evaluate on.")
    checks.labels(pictures.sources)
    if options.labels:
        row_lists.amount(options.labels, len(pictures.sources["train"]))
    if options.rows:
        row_lists.read(options.rows)
    return pictures


def _judged(table, workdir, *, options, classes, seed, told, log):
    """(results, rows of a summary) of one classifier, with its files in a workdir."""
    model, record = fit(table, options, classes, seed, log)
    workdir.mkdir(exist_ok=True)
    results = judge(model, table, workdir, log)
    record |= {"labels": len(table["train"][1]), **told}
    files.write_json(workdir / "probe.json", record)
    rows = [(f"{split} accuracy", metrics.describe(figures)) for split, figures in results.items()]
    if len(record.get("validation_accuracy_by_C", {})) > 1:
        count = len(table["validation"][1])
        rows.append(("", f"C was chosen on {count:,} labelled pictures of validation, so theirs is optimistic"))
    if best := record.get("best_epoch"):
        rows.append(
            ("highest of all epochs", f"{best['accuracy']:.2%} on {best['split']}, as lightly reports: optimistic")
        )
    return results, rows


def fit(table: Table, options: Options, classes: int, seed: int, log: Logger) -> tuple[Any, dict[str, Any]]:
    """(classifier with `logits(features)`, what probe.json tells of it); `seed` is SMOTE's."""
    if options.method == "knn":
        values, labels = table["train"]
        k, temperature = options.k, options.temperature
        neighbours = Neighbours(values, labels, classes=classes, k=k, temperature=temperature)
        return neighbours, {"method": "knn", "k": k, "temperature": temperature}
    if options.protocol:
        return _by_protocol(table, options.protocol, classes, seed, log)
    grid = grid_of(options.C, "validation" in table)
    with log.waiting(f"fitting for {len(grid)} value(s) of C"):
        model, C, scores = classifier.choose(
            table["train"],
            table.get("validation"),
            grid=grid,
            note=log.note,
            classes=classes,
            kind="logistic",
            seed=seed,
            balanced=options.balanced,
            smote=options.smote,
        )
    weights = {"balanced": options.balanced, "smote": options.smote}
    return model, {"method": "linear", "C": C, "validation_accuracy_by_C": scores, **weights}


def _by_protocol(table, name, classes, seed, log):
    protocol, split = protocols.PROTOCOLS[name], "test" if "test" in table else "validation"
    record = {"method": "linear", "protocol": name, **protocols.record(protocol, len(table["train"][1]))}
    watched = table[split] if protocol.best else None
    with log.waiting(f"linear classifier by the protocol of {name}: {protocol.epochs} epochs"):
        model, seen = protocols.fit(
            protocol, table["train"], classes=classes, seed=seed, watched=watched, note=log.note
        )
    if seen:
        at = int(np.argmax(seen))
        record["best_epoch"] = {"split": split, "epoch": at + 1, "accuracy": seen[at]}
    return model, record


def features(
    pictures: data.Data, probed: networks.Network, split: str, workdir: PathLike, log: Logger
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features float32 [n, d], labels int32 [n]) of a split, from `features-<split>.npz` where that has the same."""
    source, path = pictures.sources[split], Path(workdir) / f"features-{split}.npz"
    what = {"data": source.fingerprint, "preprocessing": pictures.evaluation.to_json()}
    key = json.dumps({**probed.source, **what, "precision": str(getattr(probed.model, "dtype", ""))})
    if (stored := files.read_arrays(path, key)) is not None:
        log.note(f"{split}: features from {path}")
        return stored["features"], stored["label"], stored["index"]
    predict = feeds.predictor(pictures, Parallel(devices=1))
    with log.waiting(f"features of {len(source):,} pictures of {split}"):
        rows = predict(source, Features(probed, pictures.evaluation), probed.variables)
    if not np.isfinite(rows["features"]).all():
        raise UserError(f"some features of {split} are not finite; look at the weights, or use precision float32.")
    label = np.asarray(rows["label"], np.int32)
    files.write_arrays(path, key, features=rows["features"], label=label, index=rows["index"])
    return rows["features"], label, rows["index"]


def of_run(path: PathLike) -> Opener:
    """The network of a run (its workdir or one step's folder), for `run`."""

    def network(config, pictures):
        del pictures
        return networks.from_run(path, dtype=config.precision, what=f"the run {path}")

    return network


def of_weights(path: PathLike) -> Opener:
    """The network of a file of weights, for `run`."""

    def network(config, pictures):
        count = PUBLISHED.get(config.model.name, Published("")).classes
        reader, shape = Reader(resolve(config)), pictures.picture
        found, report = published_weights.network(
            str(path), reader, pictures.evaluation, shape, (), count=count, headless=True
        )
        print(report)
        return found

    return network
