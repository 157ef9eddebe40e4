"""The files of a run, read back with the standard JSON parser and with TensorBoard's own reader."""

import json
import math
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.errors import UserError
from jaxcls.logs import records
from jaxcls.logs.records import Records, read_metrics


def tensorboard(workdir, split, tag):
    """(step, value) pairs as TensorBoard would show them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(workdir / "events" / split), size_guidance={"scalars": 0})
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def write(workdir, steps, start_step=0, split="train", scale=1.0):
    run = Records(workdir, steps_per_epoch=10, start_step=start_step)
    for step in steps:
        run.scalars(step, {"loss": scale * step}, split)
    run.close()


def test_lines_and_events_hold_what_was_written(tmp_path):
    run = Records(tmp_path / "deep" / "run", steps_per_epoch=8)
    run.scalars(4, {"loss": 0.5, "accuracy": 0.25}, "train")
    run.scalars(8, {"loss": 0.75}, "validation")
    first, second = (json.loads(line) for line in (tmp_path / "deep/run/metrics.jsonl").read_text().splitlines())
    assert first.pop("time") <= second.pop("time")
    assert first == {"step": 4, "split": "train", "epoch": 0.5, "loss": 0.5, "accuracy": 0.25}
    assert second == {"step": 8, "split": "validation", "epoch": 1.0, "loss": 0.75}
    # Both are there before the file is closed.
    assert tensorboard(tmp_path / "deep" / "run", "train", "accuracy") == [(4, 0.25)]
    assert tensorboard(tmp_path / "deep" / "run", "validation", "loss") == [(8, 0.75)]
    run.close()
    run.close()
    run.scalars(9, {"loss": 1.0}, "train")
    assert len(read_metrics(tmp_path / "deep" / "run")) == 2


values = st.dictionaries(st.text("abcé_/", min_size=1).filter(lambda name: name not in records.RESERVED), st.floats())


@given(values)
def test_every_float_survives_strict_json(tmp_path_factory, values):
    workdir = tmp_path_factory.mktemp("run")
    run = Records(workdir, steps_per_epoch=1)
    run.scalars(3, values, "train")
    run.close()

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    json.loads((workdir / "metrics.jsonl").read_text(), parse_constant=refuse)
    (line,) = read_metrics(workdir)
    for name, value in values.items():
        assert line[name] == value or (math.isnan(value) and math.isnan(line[name]))


def test_names_of_the_format_are_refused(tmp_path):
    run = Records(tmp_path, steps_per_epoch=1)
    with pytest.raises(ValueError, match="step, time"):
        run.scalars(1, {"time": 1.0, "step": 2.0, "loss": 1.0}, "train")


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path):
    write(tmp_path, [10, 20, 30, 40])
    write(tmp_path, [40], start_step=40, split="validation")
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "split": "tr')  # torn by the kill
    write(tmp_path, [30, 45], start_step=20, scale=2.0)
    assert [(line["step"], line["loss"]) for line in read_metrics(tmp_path)] == [(10, 10), (20, 20), (30, 60), (45, 90)]
    assert tensorboard(tmp_path, "train", "loss") == [(10, 10), (20, 20), (30, 60), (45, 90)]
    # The other split was not written again, and its later point is gone all the same.
    assert tensorboard(tmp_path, "validation", "loss") == []
    assert not list(tmp_path.glob("*.tmp"))


def test_resuming_keeps_the_records_of_the_very_step(tmp_path):
    write(tmp_path, [10, 20])
    before = (tmp_path / "metrics.jsonl").read_bytes()
    write(tmp_path, [], start_step=20)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_starting_over_sets_the_old_file_aside(tmp_path):
    write(tmp_path, [0, 10])
    write(tmp_path, [0, 5], scale=2.0)
    assert [line["step"] for line in read_metrics(tmp_path)] == [0, 5]
    assert len((tmp_path / "metrics.previous.jsonl").read_text().splitlines()) == 2
    assert tensorboard(tmp_path, "train", "loss") == [(0, 0), (5, 10)]


def test_a_crash_while_trimming_leaves_the_file_whole(tmp_path, monkeypatch):
    write(tmp_path, [10, 20])
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="No space left"):
        Records(tmp_path, steps_per_epoch=10, start_step=10)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_reading_skips_a_torn_end_and_nothing_else(tmp_path):
    assert read_metrics(tmp_path) == []
    write(tmp_path, [1, 2])
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert len(read_metrics(tmp_path)) == whole[:cut].count(b"\n")
    path.write_bytes(b'{"step": \n' + whole)
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 1, is damaged"):
        read_metrics(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_reported_once(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    run = Records(tmp_path, steps_per_epoch=1)
    with pytest.raises(UserError, match=r"metrics\.jsonl.*No space left"):
        run.scalars(1, {"loss": 1.0}, "train")
    run.scalars(2, {"loss": 1.0}, "train")
    run.close()


def test_an_unwritable_workdir_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file"):
        Records(tmp_path / "file" / "run", steps_per_epoch=1)
    (tmp_path / "run" / "metrics.jsonl").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl"):
        Records(tmp_path / "run", steps_per_epoch=1)


def test_tensorflow_is_not_imported_even_where_it_is_installed(tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise AssertionError('TensorFlow was imported')")
    code = """
import sys
from jaxcls.logs.logger import Logger
with Logger("run", total_steps=2, steps_per_epoch=1) as log:
    log.scalars(1, {"loss": 1.0})
    log.progress(2, {"loss": 1.0}, 10.0)
sys.exit(bool({"tensorflow", "jax"} & set(sys.modules)))
"""
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert tensorboard(tmp_path / "run", "train", "loss") == [(1, 1.0)]
