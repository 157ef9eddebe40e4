"""Training pictures as the network would see them: the rows, keys and partners for mixing are those of a run."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxcls import augment
from jaxcls.data import decode, pipeline, windows
from jaxcls.data.base import Source, clips
from jaxcls.errors import UserError
from jaxcls.settings.reader import Reader
from jaxcls.tasks.wrappers import example_keys
from jaxcls.training import build, data
from jaxcls.types import Batch

SHOWN = 8  # frames of a clip
EPOCHS = 1000  # in which enough draws of a picture are looked for
Row = list[tuple[np.ndarray, list[str]]]  # pictures uint8 [h, w, c] with lines of text
Draw = tuple[int, int, np.ndarray]  # epoch, place in the epoch, order of the epoch


def sheet_rows(config: Reader, rows: int, columns: int) -> list[Row]:
    """Pictures as they are, each with its first draws as training makes them: with config.ssl.method, and for FixMatch
    (config.few.method), two views of each.

    Args:
      config: a whole config.
      rows, columns: how many pictures, and draws of each.

    Raises:
      UserError: for anything in the config that cannot work.
    """
    pictures = data.read(config, views=data.views_of(config))
    source, changes = pictures.sources.get("train"), pictures.augmentation
    if source is None or changes is None:
        raise UserError(f"{config.data.name} has no training pictures.")
    chosen = spread(source.labels, rows)
    batches = draws(config, build.sampler(config, source), chosen, columns)
    made = {"seed": config.seed, "views": changes.host_views}
    stream = pipeline.Stream(source, changes.host, batches.__getitem__, **made)
    train = changes.device(None)
    transform = jax.jit(lambda batch: train(example_keys(config.seed, batch), batch))
    named = functools.partial(of_row, source)
    sheet = [[(original(source, row, config), named(row))] for row in chosen]
    for step in range(columns):
        batch = jax.device_get(transform(stream(step)))
        normalised = batch["views"] if "views" in batch else batch["image"][:, None]
        if not changes.views:
            normalised = normalised[:, :1]  # of config.loss.consistency the first
        images = pictures.evaluation.levels(normalised)
        for line, i in zip(sheet, np.flatnonzero(batch["own"]), strict=True):
            text = [f"epoch {batch['epoch'][i]}"]
            if np.issubdtype(batch["label"].dtype, np.floating):  # mixed
                text.append(shares(batch["label"][i], source.classes))
            line.append((images[i, 0], text))
            line += [(view, [f"view {v}"]) for v, view in enumerate(images[i, 1:], start=2)]
    return sheet


def of_row(source: Source, row: int) -> list[str]:
    """The names of a row's label, or of its set of them; [] without any."""
    label = source.labels[row]
    numbers = np.flatnonzero(label) if label.ndim else [label] if label >= 0 else []
    return [source.classes[int(number)] for number in numbers]


def spread(labels: np.ndarray, count: int) -> np.ndarray:
    """`count` rows (or all, where there are fewer), spread evenly over the classes and within each; of sets of labels
    by the rarest in each."""
    if labels.ndim == 2:
        order = np.argsort(labels.sum(axis=0), kind="stable")
        labels = np.where(labels.any(axis=1), labels[:, order].argmax(axis=1), len(order))
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if len(by_class) > count:
        by_class = [by_class[i] for i in np.linspace(0, len(by_class) - 1, count).astype(int)]
    owner = np.repeat(np.arange(len(by_class)), [len(rows) for rows in by_class])
    rank = np.concatenate([np.arange(len(rows)) for rows in by_class])
    in_turns = owner[np.lexsort((owner, rank))[:count]]  # the classes take turns, as long as they have rows
    numbers = np.bincount(in_turns, minlength=len(by_class))
    places = [((np.arange(n) + 0.5) * len(rows) / n).astype(int) for rows, n in zip(by_class, numbers, strict=True)]
    return np.concatenate([rows[place] for rows, place in zip(by_class, places, strict=True)])


def draws(config: Reader, sampler: Any, chosen: np.ndarray, columns: int) -> list[Batch]:
    """The first draws that training makes of some rows, each with its partner for mixing.

    Returns:
      list of `columns` batches of rows: dict of [2 * len(chosen)] `index`, `epoch`, `draw` as of `pipeline.train_rows`,
      and `own`, true for the chosen one of each pair. The partner is its neighbour 2i or 2i + 1 in the training batch;
      the last of an odd batch has none and is its own.

    Raises:
      UserError: where a row is not drawn so often, or there are fewer examples than a batch has.
    """
    batch_size = config.batch_size
    if batch_size > len(sampler):
        raise UserError(f"config.batch_size {batch_size} is more than the {len(sampler)} training examples.")
    kept = len(sampler) // batch_size * batch_size
    drawn: dict[int, list[Draw]] = {int(row): [] for row in chosen}
    for epoch in range(EPOCHS):
        order = sampler(config.seed, epoch, len(sampler))[:kept]
        for place in np.flatnonzero(np.isin(order, chosen)).tolist():
            drawn[int(order[place])].append((epoch, place, order))
        if min(map(len, drawn.values())) >= columns:
            break
    else:
        raise UserError(f"not every picture is drawn {columns} times in {EPOCHS} epochs; give fewer --columns.")
    return [pairs([drawn[int(row)][i] for row in chosen], batch_size) for i in range(columns)]


def pairs(drawn: list[Draw], batch_size: int) -> Batch:
    """The rows of some draws (epoch, place in the epoch, order of the epoch) and of their partners: see `draws`."""
    rows = []
    for epoch, place, order in drawn:
        position = place % batch_size
        alone = position == batch_size - 1 and position % 2 == 0
        first = place - position % 2
        second = first if alone else first + 1
        rows += [(order[first], epoch, first, first == place), (order[second], epoch, second, second == place != first)]
    columns = np.array(rows, np.int32).T
    batch = dict(zip(("index", "epoch", "draw", "own"), columns, strict=True))
    return {**batch, "own": batch["own"] == 1}


def original(source: Source, row: int, config: Reader) -> np.ndarray:
    """The picture as it is in the source: uint8 [h, w, c]; of a clip in a file the frames of its middle."""
    item, window = source[int(row)], windows.checked(config.data.window)
    if clips(source) and not isinstance(item["image"], np.ndarray):
        middle = augment.host_transform([augment.parse(f"frames({SHOWN})")], channels=config.data.channels or 3)
        return middle(item["image"], item["id"], None)
    if isinstance(item["image"], bytes):
        return decode.decode(item["image"], channels=config.data.channels or 3, window=window, name=item["id"])
    return item["image"]


def shares(label: np.ndarray, classes: Sequence[str]) -> str:
    """The largest share of a label [classes], and the second one if there is any: "cat .70 dog .30"."""
    largest = np.argsort(-label, kind="stable")[:2]
    if label[largest[0]] > 0.995:
        return classes[largest[0]]
    return " ".join(f"{classes[i]} {label[i]:.2f}".replace(" 0.", " .") for i in largest)
