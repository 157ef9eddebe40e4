"""Pictures that can't be read, with config.data.bad_pictures=skip: what stands in for them, and that a run goes on."""

import numpy as np
import pytest
from fixtures import toys
from fixtures.streams import Encoded, Rows
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcls import augment
from jaxcls.checkpoints import view
from jaxcls.cli.command import main
from jaxcls.data import pipeline, skipping
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.training import loop


def transform():
    return augment.host_transform([augment.parse("random_resized_crop(8)")], channels=3)


def stream(broken=(), n=11, batch=4, **options):
    options.setdefault("skipped", skipping.Skipped(lambda line: None))
    return pipeline.Stream(Encoded(n, broken), transform(), Rows(n, batch), seed=3, **options)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.data())
def test_stand_ins_are_all_of_the_class_each_once_beginning_behind_the_row(labels, data):
    row = data.draw(st.integers(0, len(labels) - 1))
    found = list(skipping.stand_ins(np.array(labels), row))
    same = [i for i, label in enumerate(labels) if label == labels[row]]
    assert found == [i for i in same if i >= row] + [i for i in same if i < row]


def test_the_next_picture_of_the_class_stands_in():
    """Rows 1 and 3 can't be read: 5 stands in for both, with the numbers that were drawn for each."""
    clean, gaps = stream(), stream(broken=(1, 3))
    for step in range(6):
        wanted, found = clean(step), gaps(step)
        rows = clean.rows(step)
        taken = np.where(np.isin(rows["index"], (1, 3)), 5, rows["index"])
        np.testing.assert_array_equal(found["index"], taken)
        np.testing.assert_array_equal(found["label"], wanted["label"])
        for i, row in enumerate(taken):
            item = gaps.source[int(row)]
            random = pipeline.generator(3, int(rows["epoch"][i]), int(rows["draw"][i]))
            np.testing.assert_array_equal(found["image"][i], transform()(item["image"], item["id"], random))


@pytest.mark.parametrize("workers", [0, 2])
def test_each_is_told_once_and_batches_depend_on_no_worker(workers):
    told = []
    gaps = stream(broken=(1, 3), workers=workers, skipped=skipping.Skipped(told.append))
    for step, batch in enumerate(gaps.batches(0, 5)):
        direct = gaps(step)
        direct.pop("skipped", None)
        assert batch.keys() == direct.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], direct[name])
    assert sorted(line.split(":")[1] for line in told) == [" cat/1.png", " cat/3.png"]


def test_without_skipping_the_first_bad_picture_ends_the_stream():
    with pytest.raises(UserError, match="cat/[13].png: not a picture"):
        list(stream(broken=(1, 3), skipped=None).batches(0, 5))


def test_a_class_of_which_nothing_can_be_read_is_an_end():
    with pytest.raises(UserError, match="no picture of class 'b' can be read; the last one: cat/"):
        list(stream(broken=(1, 3, 5, 7, 9)).batches(0, 5))


def draw(folder, bad=()):
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 4), ("test", 6)):
        for k, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 100, (9, 9, 3), dtype=np.uint8)
                image[:, 4 * k : 4 * k + 4] += 150
                Image.fromarray(image).save(folder / split / name / f"{i}.png")
    for name in bad:
        (folder / name).write_bytes((folder / name).read_bytes()[:150])
    return folder


def config_of(folder, **changes):
    config = default_config()
    config.data.name, config.data.normalize, config.data.bad_pictures = f"folder/{folder}", "symmetric", "skip"
    config.data.augment = config.data.eval_transform = ("resize(8, 8)",)
    config.model.name, config.duration, config.batch_size, config.parallel.devices = "toy_linear", "12 steps", 4, 1
    config.checkpoint.every = "6 steps"
    for key, value in changes.items():
        config.data[key] = value
    return config


BAD = ("train/cat/0.png", "train/dog/7.png", "val/dog/0.png", "test/cat/3.png")


@pytest.mark.usefixtures("bare_end")
@pytest.mark.parametrize("changes", [{}, {"pack": 8}], ids=["files", "packed"])
def test_a_run_goes_on_lists_them_and_resumes_exactly(tmp_path, changes, capsys):
    folder = draw(tmp_path / "pictures", BAD)
    changes = {**changes, "pack_dir": str(tmp_path / "packs")} if changes else {}
    with toys.registered(toy_linear=toys.Linear):
        results = loop.run(config_of(folder, **changes), tmp_path / "whole")
        assert results["test"]["count"] == 11
        listed = (tmp_path / "whole" / "skipped.txt").read_text().splitlines()
        assert sorted(line.split(": ")[0] for line in listed) == sorted(BAD)
        with np.load(next((tmp_path / "whole" / "eval").glob("test-*.npz"))) as file:
            assert file["index"].tolist() == [i for i in range(12) if i != 3]
        loop.run(config_of(folder, **changes), tmp_path / "cut")
        import shutil

        shutil.rmtree(tmp_path / "cut" / "checkpoints" / "12")
        loop.run(config_of(folder, **changes), tmp_path / "cut")
        whole, cut = (view.read_arrays(view.find_step(tmp_path / name)) for name in ("whole", "cut"))
        for name, array in whole.items():
            np.testing.assert_array_equal(array, cut[name], err_msg=name)
    assert "skipped" in capsys.readouterr().out


@pytest.mark.usefixtures("bare_end")
def test_links_to_nowhere_odd_names_and_a_class_of_the_test_that_is_gone(tmp_path, capsys):
    folder = draw(tmp_path / "pictures", ())
    (folder / "train/cat/0.png").unlink()
    (folder / "train/cat/0.png").symlink_to(tmp_path / "nowhere")
    for name in ("\nx.png", "\x1b[31mx.png"):
        (folder / "train/dog" / name).write_bytes(b"none")
    for i in range(6):
        (folder / f"test/dog/{i}.png").write_bytes(b"")
    with toys.registered(toy_linear=toys.Linear):
        results = loop.run(config_of(folder), tmp_path / "run")
        assert results["test"]["count"] == 6
        assert len((tmp_path / "run" / "skipped.txt").read_text().splitlines()) == 9
        with pytest.raises(UserError, match="can't be used") as refused:
            loop.run(config_of(folder, bad_pictures="stop"), tmp_path / "other")
    lines = str(refused.value).splitlines()
    assert len(lines) == 2 and r"train/dog/\nx.png" in lines[0] and "\x1b" not in lines[0] + capsys.readouterr().out


@pytest.mark.usefixtures("bare_end")
def test_a_run_that_met_a_bad_picture_goes_on_once_it_may_skip_or_the_picture_is_gone(tmp_path, capsys):
    folder = draw(tmp_path / "pictures")
    with toys.registered(toy_linear=toys.Linear):
        loop.run(config_of(folder, bad_pictures="stop"), tmp_path / "run")
        import shutil

        shutil.rmtree(tmp_path / "run" / "checkpoints" / "12")
        (folder / "train/cat/2.png").write_bytes(b"now it is none")
        command = ["train", f"--workdir={tmp_path / 'run'}"]
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "train/cat/2.png" in error and "--allow-changed-data" in error
        skipping_too = [*command, "--config.data.bad_pictures=skip"]
        assert main(skipping_too) == 0
        shutil.rmtree(tmp_path / "run" / "checkpoints" / "12")
        (folder / "train/cat/2.png").unlink()
        assert main(skipping_too) == 2
        assert "1 gone from train" in capsys.readouterr().err
        assert main([*command, "--allow-changed-data"]) == 0
    assert "all steps are done" not in capsys.readouterr().out
