"""Reading what evaluations left."""

import numpy as np
import pytest
import set_runs
import workdirs

from jaxcls.errors import UserError
from jaxcls.measure import stored


def test_logits_steps_and_names_are_found(tmp_path):
    logits, label = workdirs.draw(12, 3)
    run = workdirs.write(tmp_path / "run", {"test": (logits, label)}, classes=["x", "y", "z"], step=40)
    (run / "eval/test-9.npz").write_bytes((run / "eval/test-40.npz").read_bytes())
    (run / "eval/test-rows.json").write_text("{}")
    assert stored.steps(run, "test") == [9, 40] and stored.steps(run, "validation") == []
    predictions = stored.read_logits(run, "test", 40)
    np.testing.assert_array_equal(predictions.logits, logits)
    assert stored.read_classes(run, 40, 3) == ["x", "y", "z"]
    assert stored.read_classes(run, 40, 2) == ["0", "1"] and stored.read_classes(run, 41, 1) == ["0"]
    assert stored.final_step(run) == 40
    (run / "results.json").unlink()
    assert stored.final_step(run) is None  # no finished checkpoint either


def test_a_fingerprint_tells_predictions_apart(tmp_path):
    logits, label = workdirs.draw(12, 3)
    predictions = stored.Logits(logits, label, np.arange(12))
    changed = logits.copy()
    changed[3, 1] += 1e-6
    prints = [
        stored.fingerprint(predictions),
        stored.fingerprint(predictions._replace(logits=changed)),
        stored.fingerprint(predictions._replace(label=label[::-1])),
    ]
    assert len(set(prints)) == 3 and stored.fingerprint(stored.Logits(*map(np.copy, predictions))) == prints[0]


@pytest.mark.parametrize("content", [b"", b"PK nothing", "cut"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    run = workdirs.write(tmp_path / "run", {"test": workdirs.draw(12, 3)})
    path = run / "eval/test-10.npz"
    path.write_bytes(path.read_bytes()[:300] if content == "cut" else content)
    with pytest.raises(UserError, match="test-10.npz is damaged"):
        stored.read_logits(run, "test", 10)


def test_what_is_not_there_names_what_is(tmp_path):
    run = workdirs.write(tmp_path / "run", {"test": workdirs.draw(12, 3)})
    with pytest.raises(UserError, match=r"test-7.npz does not exist \(steps with logits of test: 10\)"):
        stored.read_logits(run, "test", 7)
    np.savez(run / "eval/test-11.npz", index=np.arange(3))
    with pytest.raises(UserError, match="its task predicts no classes"):
        stored.read_logits(run, "test", 11)
    np.savez(run / "eval/test-12.npz", index=np.arange(3), label=np.arange(2), logits=np.zeros((3, 2)))
    with pytest.raises(UserError, match="test-12.npz is damaged"):
        stored.read_logits(run, "test", 12)
    (run / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results.json cannot be read or is damaged"):
        stored.final_step(run)


def test_sets_of_labels_are_answers_and_no_logits_of_classes(tmp_path):
    predictions = set_runs.make_run(tmp_path / "run")
    found = stored.read_answers(tmp_path / "run", "test", 20)
    assert found.sets and np.array_equal(found.label, predictions["test"][1]) and found.label.dtype == np.uint8
    with pytest.raises(UserError, match="its labels are sets") as error:
        stored.read_logits(tmp_path / "run", "test", 20)
    assert "\n" not in str(error.value)
    run = workdirs.write(tmp_path / "other", {"test": workdirs.draw(12, 3)})
    one = stored.read_answers(run, "test", 10)
    assert not one.sets and stored.fingerprint(one) == stored.fingerprint(stored.read_logits(run, "test", 10))


@pytest.mark.parametrize(
    "label", [np.full((12, 3), 2), np.full((12, 3), -1), np.zeros((12, 2), int), np.zeros((12, 3))]
)
def test_labels_that_are_no_sets_are_damage(tmp_path, label):
    run = workdirs.write(tmp_path / "run", {"test": workdirs.draw(12, 3)})
    np.savez(run / "eval/test-10.npz", logits=np.zeros((12, 3), np.float32), label=label, index=np.arange(12))
    with pytest.raises(UserError, match="is damaged"):
        stored.read_answers(run, "test", 10)
