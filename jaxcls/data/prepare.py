"""Downloads a data set or converts one, so that `tfds/<name>` can be read without TensorFlow."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxcls.data import tfds_source
from jaxcls.errors import UserError

# name: pictures, their size, classes, MiB to download, MiB on disk, as in tensorflow-datasets' catalogue.
USUAL = {
    "mnist": (70_000, "28x28 grey", 10, 11, 21),
    "fashion_mnist": (70_000, "28x28 grey", 10, 29, 36),
    "cifar10": (60_000, "32x32", 10, 162, 132),
    "cifar100": (60_000, "32x32", 100, 161, 132),
    "cats_vs_dogs": (23_262, "any", 2, 787, 1_065),
    "oxford_flowers102": (8_189, "any", 102, 329, 331),
    "oxford_iiit_pet": (7_349, "any", 37, 774, 775),
    "food101": (101_000, "any", 101, 4_762, 4_884),
    "imagenet2012": (1_331_167, "any", 1000, 147_476, 159_580),
}
IMAGENET = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


def table() -> str:
    """The usual sets as lines of text."""
    rows = [("name", "pictures", "size", "classes", "download MiB", "on disk MiB", "takes about")]
    for name, (pictures, size, classes, download, disk) in USUAL.items():
        rows.append((name, f"{pictures:,}", size, f"{classes}", f"{download:,}", f"{disk:,}", takes(name)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "imagenet2012 has to be downloaded by hand (image-net.org, after registration)"])


def takes(name: str) -> str:
    """An estimate: 10 MiB a second over the network, 2,000 pictures and 50 MiB a second to the disk."""
    pictures, _, _, download, disk = USUAL[name]
    minutes = (download / 10 + pictures / 2000 + disk / 50) / 60
    return f"{max(1, round(minutes))} min" if minutes < 100 else f"{minutes / 60:.0f} h"


def prepare(name: str, data_dir: str | None = None, manual_dir: str | None = None) -> None:
    """Makes `tfds/<name>` readable in data_dir: nothing to do, conversion, or download.

    Raises:
      UserError: unknown set, no network, missing archives, TensorFlow needed but not installed, disk full.
    """
    builder = tfds_source.builder(name, data_dir)
    formats = tfds_source.formats(builder)
    if "array_record" in formats:
        print(f"{name} is already prepared in {builder.data_dir}")
        return
    start = time.time()
    if formats:
        print(f"{name} is in {builder.data_dir} as {', '.join(sorted(formats))}; an ArrayRecord copy goes beside it")
        _run(name, lambda: _convert(builder))
    else:
        plan = "sizes and time are not known beforehand"
        if facts := USUAL.get(builder.name):
            plan = f"{facts[0]:,} pictures, {facts[3]:,} MiB to download, {facts[4]:,} MiB on disk, "
            plan += f"about {takes(builder.name)}"
        print(
            f"{name} goes to {builder.data_dir}: {plan}. Without a network this gives up after 4 minutes.", flush=True
        )
        _run(name, lambda: _download(builder, manual_dir))
    for source in tfds_source.load(name, data_dir).values():  # reads everything once; the labels of large sets are kept
        print(f"{len(source.labels):,} pictures of {len(source.classes)} classes can be read")
    print(f"{name} is prepared in {builder.data_dir} ({time.time() - start:.0f} s); its name in a config: tfds/{name}")


def _download(builder: Any, manual_dir: str | None) -> None:
    import tensorflow_datasets as tfds

    if manual_dir and builder.name == "imagenet2012":
        for archive in IMAGENET:  # before tensorflow-datasets, which would prepare one split without the other
            if not (Path(manual_dir) / archive).exists():
                raise UserError(f"{Path(manual_dir) / archive} is missing; {_by_hand(builder.name)}")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # not a line for every retry
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    builder.download_and_prepare(download_config=config, file_format="array_record")


def _convert(builder: Any) -> None:
    from tensorflow_datasets.scripts.cli import convert_format_utils

    convert_format_utils.convert_dataset(
        dataset_version_dir=[builder.data_dir],
        dataset_dir=None,
        root_data_dir=None,
        out_dir=None,
        out_file_format="array_record",
        overwrite=False,
        use_beam=False,
        num_workers=1,
        fail_on_error=True,
    )


def _run(name: str, work: Callable[[], None]) -> None:
    """Calls work; what a user can do about its failure becomes one line."""
    import requests
    import tensorflow_datasets as tfds

    try:
        work()
    except ImportError as error:
        if "tensorflow" in str(error).lower():
            remedy = tfds_source.TENSORFLOW
            raise UserError(f"preparing {name} needs TensorFlow (reading it will not): {remedy}") from error
        raise UserError(f"preparing {name} needs the package {error.name}: pip install {error.name}") from error
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise UserError(
            f"{name} could not be downloaded: no connection. Check the network or the proxy (HTTPS_PROXY), or run "
            "this same command on another machine and copy its --data-dir here"
        ) from error
    except (requests.exceptions.RequestException, tfds.download.DownloadError) as error:
        raise UserError(f"{name} could not be downloaded: {' '.join(str(error).split())}; try again later") from error
    except AssertionError as error:
        if "anual" not in str(error):
            raise
        raise UserError(_by_hand(name)) from error
    except OSError as error:  # disk full, no permission; tensorflow-datasets checks the space first
        raise UserError(f"{name} could not be written: {' '.join(str(error).split())}") from error


def _by_hand(name: str) -> str:
    where = "its archives (which ones, its page in the catalogue of tensorflow-datasets says)"
    if name.startswith("imagenet2012"):
        where = f"{' and '.join(IMAGENET)} (from image-net.org, after registration)"
    return f"{name} has to be downloaded by hand: put {where} into a folder and run this with --manual-dir=FOLDER"
