"""`POST /feedback`: judged pictures into a folder of class folders, which `jaxcls clean` and training read.

    DIR/<class>/<time>-<beginning of its SHA-256>.<suffix of its kind>
    DIR/feedback.jsonl        a line a judgement: what was answered, by which weights, and what a person said

A picture that a class folder already has is not written again, and nothing is ever written over.
"""

import asyncio
import datetime
import hashlib
import json
import os
import tempfile
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, HTTPException, UploadFile
from pydantic import BaseModel

from jaxcls import files
from jaxcls.data import decode, kinds, layout, listing
from jaxcls.errors import UserError
from jaxcls.serve.artefacts import Served
from jaxcls.serve.registry import Registry, Unknown
from jaxcls.serve.settings import Settings
from jaxcls.text import printable

JOURNAL = "feedback.jsonl"
MOST_FILES = 20_000  # pictures in the folder
LETTERS = 100  # of a class that is new
_NO_FILE = set('/\\:*?"<>|')  # not in names of files, on one system or another
_DIGITS = 16  # of the SHA-256 in a file's name
_SUFFIX = {"JPEG": ".jpg", "TIFF": ".tif"}  # of kinds that are not called by it
_REFUSED: dict[int | str, dict[str, Any]] = {
    400: {"description": "A class that the model has not, or that can't be the name of a folder."},
    404: {"description": "No such model."},
    413: {"description": "A picture of too many pixels."},
    422: {"description": "No picture, or a field that makes no sense."},
    507: {"description": "The folder has as much as it may."},
}


class Judgement(BaseModel):
    """What has become of a judgement: the class that the picture is stored under, and whether it was not there yet."""

    label: str
    stored: bool


class Full(Exception):
    """The folder has as much as it may."""


def check(folder: str | Path, classes: Iterable[Sequence[str]], sets: Iterable[str] = ()) -> None:
    """Whether a service can collect pictures in a folder, which is made where it is missing.

    Args:
      folder: for the pictures.
      classes: those of each model.
      sets: names of the models whose answers are sets of labels.

    Raises:
      UserError: where it can't be written, answers are sets, or the models have different classes: it is the folder of
        one set of them.
    """
    if of_sets := list(sets):
        raise UserError(
            f"--feedback is a folder of class folders, and {of_sets[0]} answers with several labels a picture; leave "
            "it out"
        )
    if len({frozenset(names) for names in classes}) > 1:
        raise UserError(
            "--feedback is one folder of class folders, and these models have different classes; serve them apart"
        )
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"--feedback {folder} can't be written: {error.strerror or error}; choose another folder"
        ) from error


class Folder:
    """A folder that judged pictures go to. Of one process: several may each go beyond its bounds by one picture.

    Attributes:
      root: the folder.
      most_bytes: that all in it may take together; at most MOST_FILES files are in it, too.
    """

    def __init__(self, root: Path, most_bytes: int):
        self.root, self.most_bytes, self._lock = root, most_bytes, threading.Lock()

    def classes(self) -> list[str]:
        """Those that have a folder."""
        return listing.read(self.root).folders if self.root.is_dir() else []

    def save(self, picture: bytes, label: str, about: dict[str, Any]) -> bool:
        """Stores a picture in the folder of its class, and a line about it.

        Args:
          picture: the bytes of its file, which decode.
          label: its class, as `folder_name` has it.
          about: what else the line says.

        Returns:
          Whether it is new there.

        Raises:
          Full: where there is no more room.
          UserError: where it can't be written.
        """
        now = datetime.datetime.now(datetime.UTC)
        digest = hashlib.sha256(picture).hexdigest()[:_DIGITS]
        with self._lock:
            known = self._known(label, digest)
            name = known or f"{now:%Y%m%dT%H%M%S}-{digest}{suffix(picture)}"
            row = {"time": now.isoformat(timespec="seconds"), "file": f"{label}/{name}", "label": label, **about}
            line = (json.dumps(row) + "\n").encode()
            self._make_room(len(line) + (0 if known else len(picture)), files=0 if known else 1)
            if not known:
                with files.replacing(self.root / label / name) as temporary:
                    temporary.write_bytes(picture)
            with open(self.root / JOURNAL, "ab", buffering=0) as journal:
                journal.write(line)  # one call: lines of several processes do not mix
        return not known

    def _known(self, label: str, digest: str) -> str:
        """The file of that content in a class folder; "" where there is none."""
        place = self.root / label
        there = os.listdir(place) if place.is_dir() else []
        return next((x for x in there if f"-{digest}." in x and not x.endswith(".tmp")), "")

    def _make_room(self, more: int, files: int) -> None:
        """Raises Full where so many bytes and files more are too many."""
        for place, _, names in os.walk(self.root):
            files += len(names)
            more += sum(os.lstat(os.path.join(place, name)).st_size for name in names)
        if files > MOST_FILES or more > self.most_bytes:
            raise Full


def suffix(picture: bytes) -> str:
    """That of a picture's kind, with its point."""
    kind = kinds.of(picture[:512]) or "bin"
    return _SUFFIX.get(kind, f".{kind.lower()}")


def folder_name(label: str, model: Sequence[str], there: Iterable[str] = ()) -> str:
    """A class that a person named, as the name of its folder.

    Args:
      label: what was chosen or typed.
      model: classes of the model.
      there: classes that have a folder.

    Raises:
      UserError: where it can't be the name of a folder on every system, folders of such a name are not read as classes,
        or it differs from a known class by case, blanks, invisible characters or Unicode form alone.
    """
    known = [*model, *there]
    name = label if label in known else unicodedata.normalize("NFC", label).strip()
    new, shown = name not in known, repr(printable(name, 60))
    if not name or len(name) > LETTERS or len(name.encode(errors="replace")) > 2 * LETTERS:
        raise UserError(f"a class has 1 to {LETTERS} letters; give it a shorter name")
    if not name.isprintable() or _NO_FILE & set(name) or name != name.strip(" .") or listing.left_out_by_name(name):
        raise UserError(
            f"{shown} can't be the name of a class folder; leave out / \\ : * ? \" < > | and points at its ends"
        )
    if new and layout.split_of(name):
        raise UserError(f"{shown} is the name of a split; take another one")
    if new and (like := next((each for each in known if layout.same(each, name)), None)):
        raise UserError(f"{shown} and {printable(like, 60)!r} differ by {layout.same(like, name)} alone; take that one")
    return name


def router(registry: Registry, settings: Settings) -> APIRouter:
    """`POST /feedback`, where settings.feedback is a folder; else nothing."""
    routes = APIRouter(tags=["feedback"])
    if settings.feedback is None:
        return routes
    folder = Folder(Path(settings.feedback), settings.feedback_max_bytes)

    @routes.post("/feedback", responses=_REFUSED)
    async def feedback(
        image: Annotated[UploadFile, File(description="The picture, as it was asked about.")],
        label: Annotated[str, Form(description="Its class: the predicted one, another one, or a new one.")],
        predicted: Annotated[str, Form(description="The class that was answered.")],
        model: Annotated[str, Form(description="The model's name; empty for the first one.")] = "",
        version: Annotated[str, Form(max_length=LETTERS, description="Of the answer.")] = "",
        probability: Annotated[float | None, Form(ge=0, le=1, description="Of the answer.")] = None,
    ) -> Judgement:
        """Stores a picture under the class that a person says it is of."""
        try:
            served = registry.get(model)
        except Unknown as error:
            raise HTTPException(404, "there is no model of this name") from error
        if served.sets:  # a newer version of it
            raise HTTPException(
                400, f"{served.name} answers with several labels a picture, which no class folder holds"
            )
        if predicted not in served.predictor.classes:
            raise HTTPException(400, f"{printable(predicted, 60)!r} is no class of {served.name}")
        about: dict[str, Any] = {"predicted": predicted, "probability": probability, "model": served.name}
        about["version"] = version
        picture = await image.read()
        return await asyncio.to_thread(_store, folder, served, settings.max_pixels, picture, label, about)

    return routes


def _store(
    folder: Folder, served: Served, max_pixels: int, picture: bytes, label: str, about: dict[str, Any]
) -> Judgement:
    """Looks at what was sent, and saves it. Raises HTTPException."""
    try:
        name = folder_name(label, served.predictor.classes, folder.classes())
    except UserError as error:
        raise HTTPException(400, str(error)) from error
    if served.predictor.clips:
        raise HTTPException(400, f"{served.name} takes clips, which are not collected")
    try:
        height, width = decode.size(picture, name="picture")
        if height * width > max_pixels:
            raise HTTPException(413, f"the picture has more than {max_pixels:,} pixels")
        served.prepare(picture, "picture")
    except UserError as error:
        raise HTTPException(422, str(error)) from error
    verdict = "right" if name == about["predicted"] else "wrong"
    try:
        return Judgement(label=name, stored=folder.save(picture, name, {"verdict": verdict, **about}))
    except Full as error:
        raise HTTPException(507, "the folder for feedback is full; nothing was stored") from error
    except (UserError, OSError) as error:
        raise HTTPException(507, "the folder for feedback can't be written; nothing was stored") from error
