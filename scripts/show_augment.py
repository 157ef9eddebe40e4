"""Draws a contact sheet of training pictures as the network would see them.

    python scripts/show_augment.py --config configs/folder.py --config.data.name=folder/pictures
    python scripts/show_augment.py --data folder/pictures --augment "random_resized_crop(128), flip, rotate(15)"
    python scripts/show_augment.py --data digits --augment "resize(28), rotate(20) | vflip" --columns 12 --rows 10

A row is a picture: first as it is, then what training makes of it, in the order in which it draws it. Rows, keys and
partners for mixing are those of a run with the same config, so these are the very pictures that it sees (before they
are normalised). Where the list mixes examples, the two largest shares of the label are given. Pictures are chosen from
all classes. Exit status: 0; 2 where something is wrong with the data, the list or the output.
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from jaxcls.cli.entry import entry_point
from jaxcls.data import decode, pipeline
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.main import take_settings
from jaxcls.settings import config_file
from jaxcls.settings.reader import Reader, resolve
from jaxcls.tasks.base import Task
from jaxcls.tasks.wrappers import Transformed
from jaxcls.training import build

EPOCHS = 1000  # in which enough draws of a picture are looked for
GAP, LINE = 6, 14  # pixels between pictures, and of a line of text
SOFTWARE = "jaxcls show_augment"  # marks our own files, which may be overwritten


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    jax.config.update("jax_platforms", "cpu")  # a GPU that is training must not lose its memory to this
    settings, rest = take_settings(sys.argv[1:] if argv is None else argv)
    args = parse(rest)
    check_output(args.output)
    config = Reader(resolve(read_config(args, settings)))
    rows = sheet_rows(config, args.rows, args.columns)
    sheet = draw(rows, args.size, f"{', '.join(map(str, config.data.augment))}    seed {config.seed}")
    write(sheet, args.output)
    print(f"wrote {args.output}: {len(rows)} pictures of {config.data.name}")
    return 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", metavar="FILE[:ARG]", help="a config of a run; --config.key=value sets a key")
    parser.add_argument("--data", metavar="NAME", help="a source, such as digits or folder/PATH; default the config's")
    parser.add_argument("--augment", metavar="LIST", help="the transforms; default the config's")
    parser.add_argument("--rows", type=int, default=8, help="pictures (default %(default)s)")
    parser.add_argument("--columns", type=int, default=8, help="draws of each (default %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="pixels of a picture's long side (default %(default)s)")
    parser.add_argument("--output", type=Path, default="augment.png", help="a PNG file (default %(default)s)")
    args = parser.parse_args(argv)
    if min(args.rows, args.columns) < 1 or args.size < 16:
        parser.error("--rows and --columns must be at least 1, --size at least 16")
    if not args.config and (args.data is None or args.augment is None):
        parser.error("give --config, or --data and --augment")
    return args


def read_config(args, settings):
    """The config that the command line describes."""
    if args.config:
        config = config_file.load(args.config)
    else:
        config = default_config()
        config.batch_size = 2  # a pair, so that every epoch draws every picture
        config.data.eval_transform = ("resize(256)", "center_crop(224)")  # not used, but must be possible
    own = [(f"data.{key}", value) for key, value in (("name", args.data), ("augment", args.augment)) if value]
    config_file.override(config, [*own, *settings])
    return config


def check_output(path):
    """Raises UserError where the file is no PNG by name, or stands there and was not written by this script."""
    if path.suffix.lower() != ".png":
        raise UserError(f"--output={path} must end in .png.")
    if not path.parent.is_dir():
        raise UserError(f"--output={path}: there is no folder {path.parent}.")
    if path.exists():
        try:
            with Image.open(path) as picture:
                ours = picture.info.get("Software") == SOFTWARE
        except OSError:
            ours = False
        if not ours:
            raise UserError(f"{path} exists and is no contact sheet of this script; give another --output.")


def sheet_rows(config, rows, columns):
    """What the sheet shows.

    Args:
      config: Reader of a whole config.
      rows, columns: how many pictures, and draws of each.

    Returns:
      list of rows, each a list of (picture uint8 [h, w, c], lines of text).

    Raises:
      UserError: for anything in the config that cannot work.
    """
    source = build.open_sources(config).get("train")
    if source is None:
        raise UserError(f"{config.data.name} has no training pictures.")
    normalize = build.build_normalize(config)
    transforms = build.build_transforms(config, source, normalize)
    chosen = spread(source.labels, rows)
    batches = draws(config, build.build_sampler(config, source), chosen, columns)
    stream = pipeline.Stream(source, transforms["train_host"], batches.__getitem__, seed=config.seed)
    task = Transformed(Task(), transforms["train_device"], None, seed=config.seed)
    transform = jax.jit(lambda batch: task.train(task.keys(batch), batch))
    mean, std = (np.asarray(value, np.float32) for value in normalize)
    sheet = [[(original(source, row, config), [source.classes[source.labels[row]]])] for row in chosen]
    for step in range(columns):
        batch = jax.device_get(transform(stream(step)))
        seen = batch["views"][:, 0] if "views" in batch else batch["image"]  # of config.loss.consistency
        images = np.clip(np.round((seen * std + mean) * 255), 0, 255).astype(np.uint8)
        for line, i in zip(sheet, np.flatnonzero(batch["own"]), strict=True):
            text = [f"epoch {batch['epoch'][i]}"]
            if batch["label"].ndim == 2:
                text.append(shares(batch["label"][i], source.classes))
            line.append((images[i], text))
    return sheet


def spread(labels, count):
    """`count` rows (or all, where there are fewer), spread evenly over the classes and within each."""
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if len(by_class) > count:
        by_class = [by_class[i] for i in np.linspace(0, len(by_class) - 1, count).astype(int)]
    owner = np.repeat(np.arange(len(by_class)), [len(rows) for rows in by_class])
    rank = np.concatenate([np.arange(len(rows)) for rows in by_class])
    in_turns = owner[np.lexsort((owner, rank))[:count]]  # the classes take turns, as long as they have rows
    numbers = np.bincount(in_turns, minlength=len(by_class))
    places = [((np.arange(n) + 0.5) * len(rows) / n).astype(int) for rows, n in zip(by_class, numbers, strict=True)]
    return np.concatenate([rows[place] for rows, place in zip(by_class, places, strict=True)])


def draws(config, sampler, chosen, columns):
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
    found = {int(row): [] for row in chosen}
    for epoch in range(EPOCHS):
        order = sampler(config.seed, epoch, len(sampler))[:kept]
        for place in np.flatnonzero(np.isin(order, chosen)).tolist():
            found[int(order[place])].append((epoch, place, order))
        if min(map(len, found.values())) >= columns:
            break
    else:
        raise UserError(f"not every picture is drawn {columns} times in {EPOCHS} epochs; give fewer --columns.")
    return [pairs([found[int(row)][i] for row in chosen], batch_size) for i in range(columns)]


def pairs(drawn, batch_size):
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


def original(source, row, config):
    """The picture as it is in the source: uint8 [h, w, c]."""
    item = source[int(row)]
    if isinstance(item["image"], bytes):
        return decode.decode(item["image"], channels=config.data.channels or 3, name=item["id"])
    return item["image"]


def shares(label, classes):
    """The largest share of a label [classes], and the second one if there is any: "cat .70 dog .30"."""
    largest = np.argsort(-label, kind="stable")[:2]
    if label[largest[0]] > 0.995:
        return classes[largest[0]]
    return " ".join(f"{classes[i]} {label[i]:.2f}".replace(" 0.", " .") for i in largest)


def draw(rows, size, title):
    """The sheet as a Pillow picture."""
    rows = [[(fitted(picture, size), text) for picture, text in line] for line in rows]
    cell_width = max(picture.width for line in rows for picture, _ in line) + GAP
    heights = [max(picture.height + LINE * len(text) for picture, text in line) + GAP for line in rows]
    sheet = Image.new("RGB", (cell_width * len(rows[0]) + GAP, sum(heights) + LINE + 2 * GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    pen.text((GAP, GAP // 2), shortened(title, pen, font, sheet.width - 2 * GAP), "black", font)
    top = LINE + GAP
    for line, height in zip(rows, heights, strict=True):
        for i, (picture, text) in enumerate(line):
            left = GAP + i * cell_width
            sheet.paste(picture, (left, top))
            for j, words in enumerate(text):
                corner = (left, top + picture.height + LINE * j)
                pen.text(corner, shortened(words, pen, font, cell_width - GAP), "black", font)
        top += height
    return sheet


def fitted(image, size):
    """A Pillow picture whose long side is `size`; small pictures are enlarged without smoothing."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
    factor = size / max(picture.size)
    target = tuple(max(1, round(side * factor)) for side in picture.size)
    return picture.resize(target, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)


def shortened(text, pen, font, width):
    """The text, cut off with "…" where it is wider."""
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"


def write(sheet, path):
    """Writes the PNG, marked as ours. Raises UserError where that fails."""
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", SOFTWARE)
    try:
        sheet.save(path, pnginfo=mark)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror or error}.") from error


if __name__ == "__main__":
    sys.exit(main())
