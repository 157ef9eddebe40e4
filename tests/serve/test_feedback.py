"""Feedback: where judged pictures go, and what is refused."""

import json
import types

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httpx")

import digit_files
from fastapi import FastAPI
from fastapi.testclient import TestClient

from jaxcls.data import folder as folders
from jaxcls.errors import UserError
from jaxcls.serve import app, feedback
from jaxcls.serve.registry import Registry
from jaxcls.serve.settings import Settings

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return Registry.open(
        [str(digit_files.write(tmp_path_factory.mktemp("model") / "digits.onnx"))], note=lambda _: None
    )


@pytest.fixture
def client(registry, tmp_path):
    settings = Settings(feedback=str(tmp_path / "judged"), max_bytes=2**16, max_pixels=10_000)
    return TestClient(app.create(registry, settings), base_url="http://localhost")


def send(client, label, predicted="3", picture=None, **fields):
    picture = digit_files.png(3) if picture is None else picture
    form = {"label": label, "predicted": predicted, "model": "digits", "version": "7-x", "probability": 0.75, **fields}
    return client.post("/feedback", data=form, files={"image": ("../../a.png", picture)})


def stored(tmp_path):
    """Class folder -> contents of its files."""
    found = {}
    for path in sorted((tmp_path / "judged").glob("*/*")):
        found.setdefault(path.parent.name, []).append(path.read_bytes())
    return found


def test_right_wrong_and_new_classes_become_a_folder_that_training_reads(client, tmp_path):
    three, eight, other = digit_files.png(3), digit_files.png(8), digit_files.png(5)
    assert send(client, "3", picture=three).json() == {"label": "3", "stored": True}
    assert send(client, "8", picture=eight).json() == {"label": "8", "stored": True}
    assert send(client, "  none of these ", picture=other).json()["label"] == "none of these"
    assert stored(tmp_path) == {"3": [three], "8": [eight], "none of these": [other]}
    lines = [json.loads(line) for line in (tmp_path / "judged/feedback.jsonl").read_text().splitlines()]
    assert [(x["verdict"], x["label"], x["predicted"], x["model"]) for x in lines] == [
        ("right", "3", "3", "digits"), ("wrong", "8", "3", "digits"), ("wrong", "none of these", "3", "digits"),
    ]  # fmt: skip
    assert all((tmp_path / "judged" / x["file"]).is_file() and x["probability"] == 0.75 for x in lines)
    found = folders.scan(tmp_path / "judged")["all"]
    assert found.classes == ("3", "8", "none of these") and len(found) == 3


def test_a_picture_is_stored_once_and_never_written_over(client, tmp_path):
    assert send(client, "3").json()["stored"]
    first = next((tmp_path / "judged/3").iterdir())
    before = first.stat()
    assert not send(client, "3").json()["stored"]
    assert [*(tmp_path / "judged/3").iterdir()] == [first] and first.stat().st_mtime_ns == before.st_mtime_ns
    assert len((tmp_path / "judged/feedback.jsonl").read_text().splitlines()) == 2  # both judgements are told


@pytest.mark.parametrize("label", ["..", "../up", "/etc", "a/b", "a\\b", ".hidden", "a\0b", "a\nb", "c:", "x" * 300,
                                   "ж" * 101, "", " ", "\u202ea", "train", "__MACOSX", "end.", "a*b"])  # fmt: skip
def test_what_can_not_be_a_class_folder_is_refused(client, tmp_path, label):
    answer = send(client, label)
    assert answer.status_code in (400, 422) and "\n" not in answer.json()["error"]
    assert not stored(tmp_path) and not (tmp_path / "judged/feedback.jsonl").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"judged"}


def test_other_requests_that_make_no_sense(client, tmp_path):
    assert send(client, "3", predicted="cat").status_code == 400
    assert send(client, "3", model="other").status_code == 404
    assert send(client, "3", probability="2").status_code == 422
    assert send(client, "3", picture=b"GIF89a no picture").status_code == 422
    assert send(client, "3", picture=b"").status_code == 422
    large = np.zeros((200, 200), np.uint8)
    assert send(client, "3", picture=b"P5 200 200 255\n" + large.tobytes()).status_code == 413  # pixels
    assert send(client, "3", picture=b"P5 1 1 255\n0" + bytes(2**17)).status_code == 413  # bytes
    form = {"data": {"label": "3", "predicted": "3"}, "files": {"image": ("a.png", digit_files.png(3))}}
    assert client.post("/feedback", headers={"Origin": "http://elsewhere.example"}, **form).status_code == 403
    assert not stored(tmp_path)
    assert client.post("/feedback", headers={"Origin": "http://localhost"}, **form).status_code == 200


def test_a_full_folder_takes_no_more(registry, tmp_path):
    picture = digit_files.png(3)
    room = 2 * len(picture) + 600  # two pictures and their lines
    settings = Settings(feedback=str(tmp_path / "judged"), feedback_max_bytes=room)
    client = TestClient(app.create(registry, settings), base_url="http://localhost")
    codes = [send(client, "3", picture=digit_files.png(3, n)).status_code for n in range(6)]
    assert codes[0] == 200 and codes[-1] == 507 and sorted(codes) == codes
    assert sum(path.stat().st_size for path in (tmp_path / "judged").rglob("*") if path.is_file()) <= room


def test_a_full_folder_by_its_number_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(feedback, "MOST_FILES", 3)
    folder = feedback.Folder(tmp_path, 2**20)
    folder.save(digit_files.png(3), "3", {})
    folder.save(digit_files.png(4), "4", {})  # with the journal three files
    with pytest.raises(feedback.Full):
        folder.save(digit_files.png(5), "5", {})
    assert not (tmp_path / "5").exists()


def test_names_that_differ_from_a_class_by_little_are_refused():
    assert feedback.folder_name("owl", CLASSES) == "owl"
    assert feedback.folder_name("fox", CLASSES) == "fox"
    assert feedback.folder_name("fu\u0308chse", CLASSES) == "füchse"  # one Unicode form
    for label, by in (("Owl", "case"), ("o\u200bwl", "name of a class folder"), ("FOX", "case")):
        with pytest.raises(UserError, match=by):
            feedback.folder_name(label, CLASSES, ["fox"])
    assert feedback.folder_name("train", ("train", "tram")) == "train"  # a class of the model's own


def test_the_folder_is_looked_at_before_anything_listens(tmp_path):
    feedback.check(tmp_path / "new" / "folder", [CLASSES, CLASSES[::-1]])
    assert (tmp_path / "new/folder").is_dir() and not any((tmp_path / "new/folder").iterdir())
    with pytest.raises(UserError, match="different classes"):
        feedback.check(tmp_path, [CLASSES, ("a", "b")])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written"):
        feedback.check(tmp_path / "file", [CLASSES])


def test_without_a_folder_there_is_no_such_route(registry):
    routes = feedback.router(registry, types.SimpleNamespace(feedback=None)).routes
    assert not routes
    bare = FastAPI()
    bare.include_router(feedback.router(registry, Settings()))
    assert TestClient(bare).post("/feedback").status_code == 404
