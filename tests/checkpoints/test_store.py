"""Checkpoints: which ones stay, what comes back, and what happens to unfinished and damaged ones."""

import json
import os
import shutil

import flax.struct
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxcls.checkpoints import store, view
from jaxcls.checkpoints.meta import Meta
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError
from jaxcls.parallel import Parallel
from jaxcls.state import TrainState


@flax.struct.dataclass
class Trace:
    """Stands for an optax state: a named tuple's kin."""

    count: jax.Array
    momentum: dict


def state(step, *, size=3, value=None, extra=None, loss_scale=None, model_state=None):
    """A state with one array of every kind; `value` (by default the step) fills them."""
    value = step if value is None else value
    return TrainState(
        step=np.int32(step),
        params={"layer1.0": {"kernel": np.full((size, 2), value, np.float32)}},
        model_state={} if model_state is None else model_state,
        opt_state=(Trace(np.int32(value), {"layer1.0": np.full(size, value, ml_dtypes.bfloat16)}), ()),
        rng=np.array([value, 2**32 - 1], np.uint32),
        extra={} if extra is None else extra,
        controls={"lr_scale": np.float32(0.5)},
        loss_scale=loss_scale,
    )


def save_all(workdir, scores, first=1, **options):
    """Saves steps first, first + 1, ... with these scores, each in turn."""
    with_score = Checkpoints(workdir, **options)
    for step, score in enumerate(scores, first):
        with_score.save(state(step), Meta(step, {}), score)
    with_score.close()


def steps(workdir):
    return [entry.number for entry in view.list_steps(workdir)]


def newest(workdir, **options):
    """(step restored, step by the metadata, notes)."""
    notes = []
    found = Checkpoints(workdir, **options).restore(state(0), notes.append)
    return (None, None, notes) if found is None else (int(found[0].step), found[1].step, notes)


def same(a, b):
    """Two states leaf by leaf: type, shape and bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


def test_the_newest_and_the_best_stay(tmp_path):
    save_all(tmp_path, [0.3, 0.9, 0.5, 0.4, 0.6], keep=2)
    assert steps(tmp_path) == [2, 4, 5]
    assert Checkpoints(tmp_path).best() == 2
    assert newest(tmp_path)[:2] == (5, 5)
    assert sorted(path.stem for path in (tmp_path / "manifests").iterdir()) == ["2", "4", "5"]


def test_the_best_stays_through_restarts(tmp_path):
    save_all(tmp_path, [0.3, 0.9], keep=1)
    save_all(tmp_path, [0.1, 0.2], first=3, keep=1)
    save_all(tmp_path, [0.8], first=5, keep=1)
    assert steps(tmp_path) == [2, 5] and Checkpoints(tmp_path).best() == 2
    save_all(tmp_path, [0.95, 0.1], first=6, keep=1)
    assert steps(tmp_path) == [6, 7] and Checkpoints(tmp_path).best() == 6


def test_of_equal_ones_the_newest_is_the_best(tmp_path):
    save_all(tmp_path, [0.5, 0.7, 0.7, 0.6, 0.1, 0.1], keep=1)
    assert steps(tmp_path) == [3, 6] and Checkpoints(tmp_path).best() == 3


def test_a_score_that_is_not_finite_is_never_the_best(tmp_path):
    save_all(tmp_path, [0.2, float("nan"), float("inf"), None, -float("inf")], keep=1)
    assert steps(tmp_path) == [1, 5] and Checkpoints(tmp_path).best() == 1


def test_without_scores_only_the_newest_stay(tmp_path):
    save_all(tmp_path, [None] * 5, keep=3)
    assert steps(tmp_path) == [3, 4, 5] and Checkpoints(tmp_path).best() is None
    assert Checkpoints(tmp_path / "nothing").best() is None and newest(tmp_path / "nothing") == (None, None, [])


@pytest.mark.parametrize("fields", [
    {},
    {"model_state": {"batch_stats": {"bn1": {"mean": np.arange(3, dtype=np.float32)}}}},
    {"model_state": {"batch_stats": {}}, "extra": {"ema": {}, "queue": np.ones((2, 2), np.int32)}},
    {"loss_scale": {"scale": np.float32(65536), "good_steps": np.int32(7)}},
    {"extra": {"half": np.full(3, 0.1, np.float16), "mask": np.array([True, False])}},
])  # fmt: skip
def test_every_kind_of_leaf_comes_back(tmp_path, fields):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(7, **fields), Meta(7, {}))
    checkpoints.close()
    like = jax.tree.map(np.zeros_like, state(0, **fields))
    restored, _ = Checkpoints(tmp_path).restore(like, print)
    same(restored, state(7, **fields))
    assert isinstance(restored.opt_state[0], Trace) and restored.opt_state[1] == ()


def test_transient_parts_are_taken_from_the_fresh_state(tmp_path):
    teacher = {"kernel": np.full(1000, 1.0, np.float32)}
    checkpoints = Checkpoints(tmp_path, transient=("teacher",))
    checkpoints.save(state(3, extra={"teacher": teacher, "ema": {"w": np.float32(3)}}), Meta(3, {}))
    checkpoints.close()
    assert not any("teacher" in name for name in view.read_tensors(view.find_step(tmp_path)))
    fresh = state(0, extra={"teacher": {"kernel": np.full(1000, 2.0, np.float32)}, "ema": {"w": np.float32(0)}})
    restored, _ = Checkpoints(tmp_path, transient=("teacher",)).restore(fresh, print)
    assert restored.extra["teacher"]["kernel"][0] == 2 and restored.extra["ema"]["w"] == 3


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_saved_on_eight_devices_restored_on_one(tmp_path, mode):
    replicated = Parallel(mode, 8).replicate(state(5))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(replicated, Meta(5, {}))
    checkpoints.close()
    restored, _ = Checkpoints(tmp_path).restore(state(0), print)
    same(restored, state(5))
    again = Parallel("jit", 1).replicate(restored)
    assert len(again.rng.devices()) == 1
    same(jax.device_get(again), state(5))


def test_steps_that_follow_at_once_do_not_change_what_is_saved(tmp_path):
    """Saving is asynchronous and the next steps reuse the state's memory."""
    parallel = Parallel("jit", 2)
    step = parallel.compile(lambda s: jax.tree.map(lambda x: x + jnp.ones((), x.dtype), s), (None,), donate=(0,))
    current, checkpoints = parallel.replicate(state(1, size=200_000, value=1)), Checkpoints(tmp_path, keep=5)
    for _ in range(3):
        checkpoints.save(current, Meta(int(current.step), {}))
        for _ in range(5):
            current = step(current)
    checkpoints.close()
    for number in (1, 6, 11):
        arrays = view.read_arrays(view.find_step(tmp_path, number))
        assert np.all(arrays["params/layer1.0/kernel"] == number) and arrays["step"] == number


def test_a_step_that_is_there_is_not_written_again(tmp_path):
    save_all(tmp_path, [0.5])
    before = view.manifest_path(tmp_path / "checkpoints" / "1").read_text()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1, value=9), Meta(-7, {}), 0.9)
    checkpoints.close()
    assert newest(tmp_path)[1] == 1
    assert view.manifest_path(tmp_path / "checkpoints" / "1").read_text() == before


def test_the_manifest_comes_last(tmp_path, monkeypatch):
    """A kill between Orbax's commit and the manifest leaves an unfinished step."""
    save_all(tmp_path, [0.1])
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_manifest", lambda folder: None)
        save_all(tmp_path, [0.2], first=2)
    step, _, notes = newest(tmp_path, read_only=True)
    assert step == 1 and len(notes) == 1 and "checkpoint 2 is unfinished" in notes[0]
    assert steps(tmp_path) == [1, 2]  # read_only moves nothing
    step, _, notes = newest(tmp_path)
    assert step == 1 and "lies in" in notes[0] and steps(tmp_path) == [1]
    save_all(tmp_path, [0.3], first=2)  # its number is free again
    assert newest(tmp_path)[0] == 2 and newest(tmp_path)[2] == []


def test_what_a_kill_during_the_writing_leaves_is_passed_over(tmp_path):
    save_all(tmp_path, [0.1])
    shutil.copytree(tmp_path / "checkpoints" / "1", tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp")
    step, _, notes = newest(tmp_path)
    assert step == 1 and "2.orbax-checkpoint-tmp is unfinished" in notes[0]
    save_all(tmp_path, [0.3], first=2)
    assert newest(tmp_path)[0] == 2


def test_a_step_is_removed_at_once_and_a_kill_while_its_files_go_leaves_nothing_damaged(tmp_path, monkeypatch):
    with monkeypatch.context() as killed:  # before the first file is deleted: the step is whole, elsewhere
        killed.setattr("jaxcls.checkpoints.store.shutil.rmtree", lambda *_, **__: None)
        save_all(tmp_path, [0.9, 0.5, 0.4, 0.6], keep=2)
    removed = tmp_path / "checkpoints" / "removed" / "2"
    assert steps(tmp_path) == [1, 3, 4] and (removed / "state").is_dir()
    manifests = tmp_path / "manifests"
    (manifests / "2.json").write_text((manifests / "3.json").read_text())  # it goes after the folder
    shutil.rmtree(removed / "state")
    report = view.verify_all(tmp_path)
    assert [row["problems"] for row in report["steps"]] == [[], [], []] and report["skipped"] == []
    assert newest(tmp_path) == (4, 4, [])
    save_all(tmp_path, [0.7], first=5, keep=2)
    assert not removed.parent.exists() and not (manifests / "2.json").exists() and steps(tmp_path) == [1, 4, 5]


def damage(folder, name):
    path = next(path for path in sorted(folder.rglob("*")) if path.is_file() and name in path.as_posix())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["/d/", "_METADATA", "meta/metadata", "metrics"])
def test_a_changed_byte_in_any_file_is_noticed(tmp_path, name):
    save_all(tmp_path, [0.1, 0.2])
    damage(tmp_path / "checkpoints" / "2", name)
    step, meta, notes = newest(tmp_path)
    assert (step, meta) == (1, 1) and "checkpoint 2 is damaged" in notes[0] and "SHA-256" in notes[0]
    assert os.listdir(tmp_path / "damaged") == ["2-0"]


def test_a_damaged_best_one_is_replaced_by_the_best_good_one(tmp_path):
    """Found when the run goes on, not at its end; otherwise Orbax would keep it instead of a good one."""
    save_all(tmp_path, [0.9, 0.5, 0.1], keep=1)
    assert steps(tmp_path) == [1, 3]
    damage(tmp_path / "checkpoints" / "1", "/d/")
    step, _, notes = newest(tmp_path)
    assert step == 3 and "checkpoint 1 is damaged" in notes[0]
    save_all(tmp_path, [0.4, 0.2], first=4, keep=1)
    assert steps(tmp_path) == [4, 5] and Checkpoints(tmp_path).best() == 4


def test_all_damaged_means_a_fresh_start_and_says_so(tmp_path):
    save_all(tmp_path, [0.1, 0.2])
    for step in (1, 2):
        damage(tmp_path / "checkpoints" / str(step), "/d/")
    step, _, notes = newest(tmp_path)
    assert step is None and len(notes) == 3 and "starts from the beginning" in notes[-1]
    save_all(tmp_path, [0.1])
    assert newest(tmp_path)[0] == 1
    assert sorted(os.listdir(tmp_path / "damaged")) == ["1-1", "2-0"]


def test_a_step_that_was_asked_for_is_given_or_refused(tmp_path):
    save_all(tmp_path, [0.1, 0.2])
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert int(checkpoints.restore(state(0), print, step=1)[0].step) == 1
    with pytest.raises(UserError, match="holds no step 3; it holds 1, 2"):
        checkpoints.restore(state(0), print, step=3)
    damage(tmp_path / "checkpoints" / "2", "/d/")
    with pytest.raises(UserError, match="checkpoint .*2 is damaged .*; choose another step, of 1."):
        checkpoints.restore(state(0), print, step=2)


@pytest.mark.parametrize("other, message", [
    ({"size": 4}, r"layer1.0 is bfloat16 \(3,\), the config wants bfloat16 \(4,\) \(and 1 more\)"),
    ({"loss_scale": {"scale": np.float32(1)}}, "loss_scale/scale is missing in it; use"),
    ({"extra": {"ema": np.zeros(2, np.float16)}}, "extra/ema is missing in it"),
])  # fmt: skip
def test_a_state_of_another_shape_is_refused(tmp_path, other, message):
    save_all(tmp_path, [0.1])
    with pytest.raises(UserError, match=message):
        Checkpoints(tmp_path).restore(state(0, **other), print)
    assert steps(tmp_path) == [1]  # it is good, so it stays where it is


def test_another_type_or_a_lost_part_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1, extra={"ema": np.zeros(2, np.float32)}), Meta(1, {}))
    checkpoints.close()
    with pytest.raises(UserError, match=r"extra/ema is float32 \(2,\), the config wants float16 \(2,\)"):
        Checkpoints(tmp_path).restore(state(0, extra={"ema": np.zeros(2, np.float16)}), print)
    with pytest.raises(UserError, match="extra/ema of it is not in the model"):
        Checkpoints(tmp_path).restore(state(0), print)


def test_manifests_list_every_file_with_its_hash(tmp_path):
    save_all(tmp_path, [0.1])
    folder = tmp_path / "checkpoints" / "1"
    manifest = json.loads(view.manifest_path(folder).read_text())
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert manifest["step"] == 1 and manifest["files"].keys() == names
    assert view.verify(folder) == []


def test_a_failed_write_is_one_line_and_is_never_sealed(tmp_path, monkeypatch):
    save_all(tmp_path, [0.1])
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(2), Meta(2, {}))
    manager = checkpoints._manager

    def fail():
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write 7 bytes: No space left on device [os_error_code='28']")

    with monkeypatch.context() as patch:
        patch.setattr(manager, "wait_until_finished", fail)
        with pytest.raises(UserError, match="can't be written: No space left on device; free some space"):
            checkpoints.save(state(3), Meta(3, {}))
    checkpoints.close()
    assert not view.manifest_path(tmp_path / "checkpoints" / "2").exists()
    assert newest(tmp_path)[0] == 1
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="a bug"):  # what is no failed write passes
        patch.setattr(store, "write_manifest", lambda _: (_ for _ in ()).throw(RuntimeError("a bug")))
        save_all(tmp_path, [0.1], first=5)
