"""Pictures of files, folders and patterns, read and prepared ahead of the device by threads."""

import collections
import glob
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxcls.data import clip_files, listing
from jaxcls.errors import UserError
from jaxcls.predict.named import Pictures, Row
from jaxcls.text import printable

SHELL = ("/dev/fd/", "/dev/stdin")  # pipes that somebody writes to: <(command), command | jaxcls predict RUN /dev/stdin
NO_PICTURES = "there are no pictures in this folder (.jpg, .png, .webp, .bmp, .gif, .tif or .ppm)"
NO_CLIPS = "there are no clips in this folder (.gif, .webp, .png, .npy, .npz, videos, folders of frames)"
Item = TypeVar("Item")
Result = TypeVar("Result")


class Picture(NamedTuple):
    """A picture as it goes to the device, uint8 [h, w, c], or clip [t, h, w, c]; or None and what is wrong with it."""

    path: str
    image: np.ndarray | None
    problem: str | None


def paths(
    arguments: Iterable[str | Pictures], left_out: listing.Others | None = None, *, clips: bool = False
) -> Iterator[tuple[str, str | None]]:
    """(path, None) of every picture of files, folders, patterns, sets that `named.opened` has opened, and, for "-",
    lines of stdin; (path, why) of others. With `clips` of every clip, where a folder of frames is one (`clip_files`).

    What is given by name is always there. What folders hold beside pictures is added to `left_out`; `listing.told` has
    lines about it.
    """
    for argument in arguments:
        if isinstance(argument, Pictures):
            yield from argument
            continue
        lines = (line.rstrip("\r\n") for line in sys.stdin) if argument == "-" else (argument,)
        for text in filter(None, lines):
            if os.path.isdir(text):
                yield from walk(text, left_out, clips=clips)
            elif os.path.isfile(text) or not glob.has_magic(text):
                yield text, None if os.path.exists(text) else "there is no such file or folder"
            else:
                matches = sorted(glob.glob(text, recursive=True))
                for path in matches:
                    yield from walk(path, left_out, clips=clips) if os.path.isdir(path) else [(path, None)]
                if not matches:
                    yield text, "there is nothing that matches this pattern"


def walk(
    folder: str, left_out: listing.Others | None = None, *, clips: bool = False
) -> Iterator[tuple[str, str | None]]:
    """`paths` of a folder, at any depth, by name; links to folders and what is no picture are left out, and counted."""
    others = listing.Others()
    problems: list[tuple[str, str]] = []
    todo, empty = [folder], True
    while todo:
        place = todo.pop()
        try:
            here = listing.read(place, clip_files.suffixes() if clips else None)
        except UserError as error:
            problems.append((place, str(error).removeprefix(f"{printable(place)}: ")))
            continue
        others.update(here.others, os.path.join(place, ""))
        frames: list[str] = []
        names = here.pictures
        if clips:
            names, frames = clip_files.divided(place, here.pictures)
        for path in [os.path.join(place, name) for name in names] + ([place] if frames else []):
            yield path, None
            empty = False
        for path in (os.path.join(place, name) for name in reversed(here.folders)):
            if os.path.islink(path):
                others.add(listing.LINKS, path)
            else:
                todo.append(path)
    yield from problems
    if empty and not problems:
        there = listing.told(others.reasons(""))
        yield folder, "; ".join([NO_CLIPS if clips else NO_PICTURES, *there[:3]])
    if left_out is not None:
        left_out.update(others)


def read(prepare: Callable[[Any, str], np.ndarray], path: str, problem: str | None) -> Picture:
    """Reads and prepares the picture of an entry of `paths`."""
    if problem:
        return Picture(path, None, problem)
    try:
        if isinstance(path, Row):
            return Picture(path, prepare(path.image(), path), None)
        if os.path.isdir(path) and (frames := _frames(path)):  # a clip, which a model of pictures says
            return Picture(path, prepare(frames, path), None)
        # Of a pipe without a writer, or of a device, reading never ends. Folders have none (`listing`), patterns may.
        if os.path.exists(path) and not os.path.isfile(path) and not path.startswith(SHELL):
            return Picture(path, None, "a folder, pipe, socket or device, not a file; move it away")
        with open(path, "rb", buffering=0) as file:
            encoded = file.read()
        return Picture(path, prepare(encoded, path), None)
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
    except UserError as error:
        problem = str(error).removeprefix(f"{path}: ")
    except MemoryError:
        problem = "too large for the memory of this machine"
    return Picture(path, None, problem)


def _frames(folder: str) -> clip_files.FrameFiles | None:
    """The clip whose frames a folder holds; None for a folder of anything else."""
    _, frames = clip_files.divided(folder, listing.read(folder, clip_files.suffixes()).pictures)
    return clip_files.of_folder(folder, frames) if frames else None


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, most: int
) -> Generator[Result, None, None]:
    """Iterates over function(item) in the order of the items, computed by threads; at most so many are held at once."""
    queue: collections.deque[Future[Result]] = collections.deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            queue.append(pool.submit(function, item))
            if len(queue) >= most:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batches(pictures: Iterable[tuple[int, Picture]], size: int) -> Iterator[list[tuple[int, Picture]]]:
    """Lists of (number, picture) with `size` good ones each, or fewer where many cannot be read."""
    good = 0
    batch: list[tuple[int, Picture]] = []
    for number, picture in pictures:
        batch.append((number, picture))
        good += picture.image is not None
        if good == size or len(batch) == 4 * size:
            yield batch
            batch, good = [], 0
    if batch:
        yield batch
