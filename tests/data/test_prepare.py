import io
import json
import re

import numpy as np
import pytest
import requests
from PIL import Image

from jaxcls.cli import command
from jaxcls.data import sources


def prepare(*arguments):
    return command.main(["prepare", *map(str, arguments)])


@pytest.fixture
def tf_flowers(monkeypatch):
    """tf_flowers as if its download worked: 20 pictures instead of 3,670."""
    import tensorflow_datasets as tfds

    kind = type(tfds.builder("tf_flowers", data_dir="/nowhere"))
    out = io.BytesIO()
    Image.fromarray(np.full((8, 9, 3), 77, np.uint8)).save(out, "JPEG")

    def examples(self, *_):
        for row in range(20):
            yield str(row), {"image": io.BytesIO(out.getvalue()), "label": row % 5}

    monkeypatch.setattr(kind, "_split_generators", lambda self, _: {"train": examples(self)})
    return kind


def test_list(capsys):
    assert prepare("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"mnist", "fashion_mnist", "cifar10", "cifar100", "imagenet2012"} <= {line.split()[0] for line in lines}
    for line in lines[1:-1]:
        assert re.search(r"\d+ (min|h)$", line)


def test_prepares_and_then_says_that_it_is_there(tf_flowers, tmp_path, capsys):
    assert prepare("tf_flowers", f"--data-dir={tmp_path}") == 0
    out = capsys.readouterr().out
    assert "20 pictures of 5 classes can be read" in out and "its name in a config: tfds/tf_flowers" in out
    found = sources.load("tfds/tf_flowers", data_dir=tmp_path)
    assert sum(map(len, found.values())) == 20 and len(found["train"][0]["image"]) > 100
    assert prepare("tfds/tf_flowers", "--data-dir", str(tmp_path)) == 0
    assert "tf_flowers is already prepared in" in capsys.readouterr().out


def test_no_network(tf_flowers, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise requests.exceptions.ConnectionError("Max retries exceeded")

    monkeypatch.setattr(tf_flowers, "_split_generators", fail)
    assert prepare("tf_flowers", f"--data-dir={tmp_path}") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: tf_flowers could not be downloaded: no connection") and "HTTPS_PROXY" in error


def test_a_server_that_refuses(tf_flowers, tmp_path, capsys, monkeypatch):
    import tensorflow_datasets as tfds

    def fail(*_):
        raise tfds.download.DownloadError("Failed to get url https://example.org/x.tgz.\n HTTP code: 404.")

    monkeypatch.setattr(tf_flowers, "_split_generators", fail)
    assert prepare("tf_flowers", f"--data-dir={tmp_path}") == 2
    assert "could not be downloaded: Failed to get url https://example.org/x.tgz. HTTP" in capsys.readouterr().err


def test_imagenet_has_to_be_fetched_by_hand(tmp_path, capsys):
    assert prepare("imagenet2012", f"--data-dir={tmp_path}") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "ILSVRC2012_img_train.tar" in error and "--manual-dir=FOLDER" in error
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual/other.txt").touch()
    assert prepare("imagenet2012", f"--data-dir={tmp_path}", f"--manual-dir={tmp_path}/manual") == 2
    assert f"{tmp_path}/manual/ILSVRC2012_img_train.tar is missing" in capsys.readouterr().err


def test_tensorflow_needed_but_missing(tf_flowers, tmp_path, capsys, monkeypatch):
    def arrays(self, _):  # arrays are encoded by TensorFlow, unlike files
        return {"train": iter([("0", {"image": np.zeros((4, 4, 3), np.uint8), "label": 0})])}

    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)  # as if it were not installed
    monkeypatch.setattr(tf_flowers, "_split_generators", arrays)
    assert prepare("tf_flowers", f"--data-dir={tmp_path}") == 2
    assert "pip install 'tensorflow-cpu>=2.21,<2.22'" in capsys.readouterr().err.strip().splitlines()[-1]


def test_tfrecord_is_converted_which_needs_tensorflow(tf_flowers, tmp_path, capsys, monkeypatch):
    assert prepare("tf_flowers", f"--data-dir={tmp_path}") == 0
    (info,) = tmp_path.rglob("dataset_info.json")
    text = json.loads(info.read_text())
    text["fileFormat"] = "tfrecord"
    info.write_text(json.dumps(text))
    for path in info.parent.glob("*.array_record-*"):
        path.rename(str(path).replace("array_record", "tfrecord"))
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    assert prepare("tf_flowers", f"--data-dir={tmp_path}") == 2
    out, error = capsys.readouterr()
    assert "as tfrecord; an ArrayRecord copy goes beside it" in out
    assert "pip install 'tensorflow-cpu>=2.21,<2.22'" in error.strip().splitlines()[-1]


def test_unknown_name_and_no_name(tmp_path, capsys):
    assert prepare("tf_flower", f"--data-dir={tmp_path}") == 2
    assert "did you mean 'tf_flowers'?" in capsys.readouterr().err
    assert prepare() == 2
    assert capsys.readouterr().err == "error: name a data set; jaxcls prepare --list shows the usual ones.\n"


def test_disk_full(tf_flowers, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf_flowers, "_split_generators", fail)
    assert prepare("tf_flowers", f"--data-dir={tmp_path}") == 2
    assert "could not be written: [Errno 28] No space left on device" in capsys.readouterr().err
