"""scripts/bench/input.py in its tiny form, and what it compares with."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scripts import load, run_json

bench = load("bench/input.py")
peers = bench.peers


def test_input(capsys):
    options = "--reads 8 --batch 4 --size 32 --rounds 2 --sizes as-is --jobs train"
    r = run_json(bench, capsys, f"{options} --only decode jaxcls pillow packed-copy")
    (figures,) = r["sets"]
    names = [(p["job"], p["peer"]) for p in figures["pipelines"]]
    assert names == [("train", peer) for peer in ("decode", "jaxcls", "pillow", "packed-copy")]
    assert all(p["pictures_per_second"] > 0 and p["pictures_per_cpu_second"] > 0 for p in figures["pipelines"])
    assert all(("times_pillow" in p) == (p["peer"] != "pillow") for p in figures["pipelines"])
    assert figures["reads"] == 8 and figures["files"] == 64 and figures["missing"] == []
    assert [m["set"] for m in r["in_memory"]] == ["mnist", "cifar10"]


def test_input_says_which_peer_is_missing(capsys, tmp_path):
    bench.make_pictures(tmp_path, n=1)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    options = f"--folder {tmp_path} --reads 1 --batch 1 --rounds 1 --sizes as-is --jobs train --only tf.data"
    r = run_json(bench, capsys, f"{options} --tf-python {python}")
    assert r["sets"][0]["missing"] == ["tf.data"] and r["sets"][0]["pipelines"] == []
    assert any(line.startswith("tf.data: not installed, skipped") for line in bench.lines(r))


def test_input_needs_pictures(tmp_path, capsys):
    assert bench.main(["--folder", str(tmp_path)]) == 2
    assert "there are no JPEGs" in capsys.readouterr().err


def pipelines_spec(folder, **options):
    paths = [str(path) for path in sorted(folder.glob("*.jpg"))]
    return {"paths": paths, "pack": "", "size": 56, "batch": 3, "threads": 1, "workers": 0, "steps": 2, **options}


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (71, 50)])
def test_both_loaders_do_the_same_work(tmp_path, size):
    bench.make_pictures(tmp_path, n=3, size=size)
    spec = pipelines_spec(tmp_path, job="eval", peer="jaxcls")
    ours, theirs = bench.ours.stream(spec), peers.pillow(spec)
    for _ in range(3):
        np.testing.assert_array_equal(next(ours)["image"], next(theirs))


def test_draft_changes_little_and_tf_data_gives_such_pictures(tmp_path):
    bench.make_pictures(tmp_path, n=3, size=(400, 600))
    spec = pipelines_spec(tmp_path, job="eval", peer="pillow")
    exact, draft = (next(peers.pillow(spec, draft=d)) for d in (False, True))
    assert exact.shape == draft.shape == (3, 56, 56, 3)
    assert 0 < np.abs(exact.astype(int) - draft).mean() < 8
    train = {**spec, "job": "train"}
    assert next(peers.pillow(train, draft=True)).shape == (3, 56, 56, 3)
    pytest.importorskip("tensorflow")
    assert next(peers.tf_data(spec)).shape == next(peers.tf_data(train)).shape == exact.shape


def test_enlarged_pictures_keep_their_orientation(tmp_path):
    for name, size in (("wide", (60, 80)), ("high", (80, 60))):
        bench.make_pictures(tmp_path / name, n=1, size=size)
    paths = bench.enlarge(bench.jpegs(tmp_path), (500, 375), tmp_path / "made")
    sizes = []
    for path in paths:
        with Image.open(path) as picture:
            sizes.append(picture.size)
    assert sizes == [(375, 500), (500, 375)]


@given(st.integers(1, 400), st.integers(1, 400))
def test_random_box_lies_inside(width, height):
    left, top, right, bottom = peers.random_box(width, height)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_made_pictures_are_about_as_hard_as_photographs(tmp_path):
    bench.make_pictures(tmp_path, n=2)
    with Image.open(tmp_path / "0.jpg") as picture:
        assert picture.size == (341, 256)
    assert 0.2 < (tmp_path / "0.jpg").stat().st_size / (341 * 256) < 1  # bytes a pixel
