"""A run made of two towers and the names of classes: its logits are scaled cosines, reckoned apart, and it is a run."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from small_towers import image_tower, tensor, tensors

import jaxcls
from jaxcls.checkpoints import view
from jaxcls.cli.command import main
from jaxcls.data import sources
from jaxcls.models import pretrained, text_tower, tower_files
from jaxcls.words import bpe

CLASSES = ("red_fox", "truck")
MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
SENTENCES = ("a photo of a {}.", "art of the {}.")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of pictures, a vocabulary, and weights of two towers that know it."""
    root = tmp_path_factory.mktemp("zeroshot")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 3)):
        for name in CLASSES:
            (root / "pictures" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / "pictures" / split / name / f"{i}.png")
    (root / "vocabulary").write_text("#version\na r\np h\n")
    size = bpe.read(root / "vocabulary").size
    made = tensors("clip") | {
        "token_embedding.weight": tensor("clip", "token_embedding.weight", (size, 64), 0.0, 0.15),
        "positional_embedding": tensor("clip", "positional_embedding", (77, 64), 0.0, 0.15),
    }
    save_file({key: np.ascontiguousarray(value) for key, value in made.items()}, root / "clip.safetensors")
    return root


def command(place, out, *more):
    return main(
        ["zeroshot", str(place / "clip.safetensors"), "--config", "zeroshot:tiny", "--data", str(place / "pictures"),
         "--vocab", str(place / "vocabulary"), "--out", str(out), "--config.model.fields.activation=quick_gelu", *more]
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(place):
    out = place / "run"
    assert command(place, out, *(f"--template={sentence}" for sentence in SENTENCES)) == 0
    return out


def expected(place, pictures):
    """Logits by the definition: scale times the cosine with the mean of a class's unit features, made unit again."""
    towers = tower_files.split(dict(load(place / "clip.safetensors")))
    tower = text_tower.of_tensors(towers.text, activation="quick_gelu")
    tokenise = bpe.read(place / "vocabulary")
    kernel = []
    for name in ("red fox", "truck"):
        y = answers(tower, towers.text, tokenise([sentence.format(name) for sentence in SENTENCES]))
        y = (y / np.linalg.norm(y, axis=1, keepdims=True)).mean(axis=0)
        kernel.append(y / np.linalg.norm(y))
    x = answers(image_tower("clip"), towers.image, pictures)
    return towers.scale * x / np.linalg.norm(x, axis=1, keepdims=True) @ np.array(kernel).T


def load(path):
    from safetensors.numpy import load_file

    return load_file(path)


def answers(net, weights, given):
    loaded, _ = pretrained.match(net, jax.eval_shape(lambda: net.init(jax.random.key(0), given)), weights)
    return np.asarray(net.apply(loaded, given)[0], np.float64)


def test_logits_are_scaled_cosines(place, run):
    paths = sorted((place / "pictures" / "val").glob("*/*.png"))
    predictor = jaxcls.load(run)
    images = np.stack([(np.asarray(Image.open(path)) / 255 - MEAN) / STD for path in paths]).astype(np.float32)
    z = expected(place, images)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    for path, row in zip(paths, p, strict=True):
        found = predictor(str(path))
        assert found["probability"] == pytest.approx(row.max(), abs=1e-4)
        assert found["class"] == CLASSES[row.argmax()]


def test_it_is_a_run_that_trains_and_evaluates(place, run, tmp_path, capsys):
    told = json.loads((run / "zeroshot.json").read_text())
    assert told["templates"] == list(SENTENCES) and told["scale"] == pytest.approx(np.exp(2))
    assert main(["eval", str(run)]) == 0
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.slow
def test_tuned_weights_go_back_to_the_words_by_alpha(run, tmp_path):
    tuned = tmp_path / "tuned"
    assert main(["train", "--from", str(run), "--workdir", str(tuned)]) == 0
    ends = [view.read_arrays(view.best_step(folder)) for folder in (run, tuned)]
    for alpha in (0, 0.5, 1):
        out = tmp_path / f"wise-{alpha}"
        assert main(["average", str(run), str(tuned), "--alpha", str(alpha), "--out", str(out)]) == 0
        folder = view.find_step(out)
        found, names = view.read_arrays(folder), view.read_meta(folder).answer.names.values()
        moved = 0
        for name in names:
            before, after = ends[0][name], ends[1][name]
            if alpha in (0, 1):
                assert np.array_equal(found[name], (before, after)[alpha]), name
            else:
                np.testing.assert_allclose(found[name], (before + after) / 2, rtol=1e-6, atol=1e-7)
            moved += not np.array_equal(before, after)
        assert moved > 10


def refused(capsys, *argv):
    assert main(list(argv)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_what_does_not_go_together_is_one_line(place, tmp_path, capsys, monkeypatch):
    opened, find = [], sources.find
    monkeypatch.setattr(sources, "find", lambda name, **rest: [opened.append(name), find(name, **rest)][1])
    weights, data, vocabulary = (str(place / name) for name in ("clip.safetensors", "pictures", "vocabulary"))
    rest = ["--config", "zeroshot:tiny", "--data", data, "--out", str(tmp_path / "out")]
    line = refused(capsys, "zeroshot", weights, *rest, "--vocab", vocabulary, "--template=none")
    assert "no sentence with {}" in line
    line = refused(capsys, "zeroshot", weights, *rest, "--vocab", str(place / "missing"))
    assert "missing can't be read" in line
    (tmp_path / "large").write_text("#version\n" + "".join(f"a {i}\n" for i in range(90)))
    line = refused(capsys, "zeroshot", weights, *rest, "--vocab", str(tmp_path / "large"))
    assert "the one that belongs to these weights" in line and len(opened) == 1  # the batch is fitted without a look
    (tmp_path / "words.csv").write_text("class,words\nwolf,grey wolf\n")
    line = refused(capsys, "zeroshot", weights, *rest, "--vocab", vocabulary, "--words", str(tmp_path / "words.csv"))
    assert "no class of these pictures: wolf" in line
    save_file({"fc.weight": np.zeros((2, 2), np.float32)}, tmp_path / "none.safetensors")
    line = refused(capsys, "zeroshot", str(tmp_path / "none.safetensors"), *rest, "--vocab", vocabulary)
    assert "no pair of towers" in line
    assert not (tmp_path / "out").exists()


def test_pictures_are_found_by_text_and_by_picture(place, run, tmp_path, capsys):
    paths = sorted(str(path) for path in (place / "pictures" / "val").glob("*/*.png"))
    question = ["find", str(run), "red fox", "--data", str(place / "pictures" / "val"), "--top", "3"]
    page = tmp_path / "found.html"
    assert main([*question, "--vocab", str(place / "vocabulary"), "--out", str(page)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.endswith(".png")]
    towers = tower_files.split(load(place / "clip.safetensors"))
    tower = text_tower.of_tensors(towers.text, activation="quick_gelu")
    y = answers(tower, towers.text, bpe.read(place / "vocabulary")(["red fox"]))[0]
    images = np.stack([(np.asarray(Image.open(path)) / 255 - MEAN) / STD for path in paths]).astype(np.float32)
    x = answers(image_tower("clip"), towers.image, images)
    cosines = x @ y / np.linalg.norm(x, axis=1) / np.linalg.norm(y)
    order = np.argsort(-cosines)[:3]
    assert [path for _, path in lines] == [paths[i] for i in order]
    assert [float(cosine) for cosine, _ in lines] == pytest.approx(cosines[order], abs=1e-3)
    assert page.read_text().count("<img") == 3

    assert main(["find", str(run), paths[4], "--data", str(place / "pictures" / "val"), "--top", "1"]) == 0
    out = capsys.readouterr().out
    assert "6 pictures, known from" in out and f"1.000  {paths[4]}" in out
    line = refused(capsys, *question)
    assert "--vocab" in line
