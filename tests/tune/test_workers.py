"""Workers with trials made of numbers: nothing twice, nothing lost, whoever is killed."""

import contextlib
import functools
import itertools
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from fake_trials import Fake, Killed, make, told, trained
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.training.signals import Stopped
from jaxcls.tune import begin, choosing, claims, repeats, running, study, workers
from jaxcls.tune.running import Ended


@pytest.fixture(autouse=True)
def page(monkeypatch):
    """The page has tests of its own. There is nothing to collect, and in a process of many tests it takes seconds."""
    monkeypatch.setattr("jaxcls.report.search.write", lambda *_: None)
    monkeypatch.setattr(workers.gc, "collect", lambda: 0)


def quiet(line):
    pass


def record(folder):
    return json.loads((folder / "search.json").read_text())


def until_done(folder, fake, note=quiet):
    """Worker after worker, each until it is killed. Returns how many were."""
    for killed in range(100):
        with contextlib.suppress(Killed):
            workers.work(folder, note, fake)
            return killed
    raise AssertionError


def once(when):
    """A hook that kills at each of these (folder, epoch) once."""
    left = set(when)

    def hook(config, folder, epoch):
        if (folder.name, epoch) in left:
            left.remove((folder.name, epoch))
            raise Killed

    return hook


def test_one_worker_runs_what_was_asked_for_and_tells_each_trial(tmp_path):
    lines = []
    workers.work(make(tmp_path, trials=5), lines.append, Fake())
    assert [line.split(",")[0][:17] for line in lines] == [f"trial {n}: accuracy "[:17] for n in range(5)]
    found = record(tmp_path)
    assert (found["state"], len(found["trials"]), found["budget"]["spent_epochs"]) == ("done", 5, 20)
    assert trained(tmp_path) == {f"trial-{n}": [1, 2, 3, 4] for n in range(5)}
    workers.work(tmp_path, lines.append, Fake())
    assert len(lines) == 5
    begin.change_budget(tmp_path, add=2)
    workers.work(tmp_path, lines.append, Fake())
    assert len(lines) == 7 and len(record(tmp_path)["trials"]) == 7


MOMENTS = ("ask", "params", "promote", "note", "judge", "tell")  # functions of the study, by which a worker is killed


@contextlib.contextmanager
def killing(moments):
    """Within this context a worker is killed at its n-th call of the study, for each n of `moments`: before what it
    does where n is even, else after."""
    count = itertools.count()

    def killed_at(function):
        @functools.wraps(function)
        def call(*args, **options):
            n = next(count)
            if n in moments and n % 2 == 0:
                raise Killed
            result = function(*args, **options)
            if n in moments:
                raise Killed
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in MOMENTS:
            patch.setattr(study, name, killed_at(getattr(study, name)))
        patch.setattr(choosing, "DEATHS", 100)  # trials of numbers have no checkpoint between two kills
        yield


@pytest.mark.slow
@settings(max_examples=4, phases=[Phase.generate])
@given(
    plan=st.sampled_from([("tpe", "none"), ("random", "median"), ("qmc", "halving"), ("tpe", "halving")]),
    kills=st.sets(st.tuples(st.integers(0, 8).map(lambda n: f"trial-{n}"), st.integers(1, 4)), max_size=3),
    moments=st.sets(st.integers(0, 80), min_size=1, max_size=2),
)
def test_a_search_that_was_killed_ends_as_one_that_was_not(plan, kills, moments, tmp_path_factory):
    """The same draws, the same values, the same trials stopped and promoted; no epoch twice but those of the kills."""
    folders = [tmp_path_factory.mktemp(name) for name in ("straight", "killed")]
    for folder in folders:
        make(folder, trials=8, sampler=plan[0], pruner=plan[1], eta=2)
    until_done(folders[0], Fake())
    with killing(moments):
        until_done(folders[1], Fake(hook=once(kills)))
    assert told(folders[0]) == told(folders[1])
    straight, killed = map(trained, folders)
    assert {name: sorted({*epochs}) for name, epochs in killed.items()} == straight
    assert sum(map(len, killed.values())) <= sum(map(len, straight.values())) + len(moments)


def test_a_stopped_trial_is_promoted_and_goes_on_where_it_was(tmp_path):
    fake = Fake(length=8)
    workers.work(make(tmp_path, trials=9, length=8, pruner="halving", eta=2), quiet, fake)
    rows = told(tmp_path)
    assert [number for number, *_ in rows] == sorted({number for number, *_ in rows}) and len(rows) == 9
    again = [name for name in fake.began if fake.began.count(name) > 1]
    assert again, "nothing was promoted"
    assert all(epochs == [*range(1, len(epochs) + 1)] for epochs in trained(tmp_path).values())
    assert {len(epochs) for epochs in trained(tmp_path).values()} <= {1, 2, 4, 8}
    assert record(tmp_path)["budget"]["spent_epochs"] == sum(map(len, trained(tmp_path).values()))


@pytest.mark.slow
@settings(max_examples=4)
@given(epochs=st.floats(4, 20), pruner=st.sampled_from(["none", "median", "halving"]))
def test_a_budget_of_epochs_is_never_passed_and_room_for_a_trial_is_used(epochs, pruner, tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("s"), epochs=epochs, pruner=pruner, eta=2)
    workers.work(folder, quiet, Fake())
    spent = sum(map(len, trained(folder).values()))
    assert epochs - 4 < spent <= epochs
    begin.change_budget(folder, add=1)
    workers.work(folder, quiet, Fake())
    assert sum(map(len, trained(folder).values())) > spent


def test_failing_trials_are_told_with_their_line_and_the_search_goes_on(tmp_path):
    def hook(config, folder, epoch):
        if folder.name in ("trial-1", "trial-3") and epoch == 2:
            return Ended("failed", None, "loss is not finite at step 7")

    lines = []
    workers.work(make(tmp_path, trials=5), lines.append, Fake(hook=hook))
    assert [state for _, state, *_ in told(tmp_path)] == ["complete", "failed", "complete", "failed", "complete"]
    assert lines[1].startswith("trial 1: failed: loss is not finite at step 7 (schedule.peak=")
    assert record(tmp_path)["trials"][3]["why"] == "loss is not finite at step 7"


def test_a_value_that_the_config_cannot_take_fails_that_trial_alone(tmp_path):
    make(tmp_path, trials=4, text="schedule.peak=choice(0.1,0.2); seed=choice(0,nothing)", sampler="grid")
    lines = []
    workers.work(tmp_path, lines.append, Fake())
    assert sorted(state for _, state, *_ in told(tmp_path)) == ["complete", "complete", "failed", "failed"]
    assert sum("'nothing' is not a whole number" in line for line in lines) == 2


@pytest.mark.parametrize("lines, ends", [(["at step 3", "at step 5", "at step 11"], True), (["a", "b", "a"], False)])
def test_three_that_fail_alike_at_the_start_end_the_search(tmp_path, lines, ends):
    def hook(config, folder, epoch):
        number = int(folder.name.removeprefix("trial-"))
        return Ended("failed", None, lines[number]) if number < 3 else None

    make(tmp_path, trials=4)
    if ends:
        with pytest.raises(UserError, match="the first 3 trials failed alike, so the search ends: at step 11"):
            workers.work(tmp_path, quiet, Fake(hook=hook))
        assert len(told(tmp_path)) == 3
    workers.work(tmp_path, quiet, Fake(hook=hook))  # as it would be once that is mended
    assert [state for _, state, *_ in told(tmp_path)] == ["failed"] * 3 + ["complete"]


def test_what_is_wrong_with_the_machine_is_no_fault_of_the_trial(tmp_path):
    def full(config, folder, epoch):
        if epoch == 2:
            raise UserError("disk full")

    make(tmp_path, trials=2)
    with pytest.raises(UserError, match="disk full"):
        workers.work(tmp_path, quiet, Fake(hook=full))
    assert [state for _, state, *_ in told(tmp_path)] == ["running"]
    workers.work(tmp_path, quiet, Fake())
    assert trained(tmp_path) == {"trial-0": [1, 2, 3, 4], "trial-1": [1, 2, 3, 4]}


def test_a_signal_ends_the_worker_and_the_trial_goes_on_later(tmp_path):
    def stop(config, folder, epoch):
        if (folder.name, epoch) == ("trial-1", 3):
            return Ended("stopped", None, "stopped by Ctrl-C", 130)

    make(tmp_path, trials=3)
    for _ in range(5):  # more often than a worker may be lost: a stop is no death
        with pytest.raises(Stopped) as stopped:
            workers.work(tmp_path, quiet, Fake(hook=stop))
        assert stopped.value.status == 130
    lines = []
    workers.work(tmp_path, lines.append, Fake())
    assert lines[0] == "trial 1: going on; it goes on from its newest checkpoint"
    assert trained(tmp_path) == {f"trial-{n}": [1, 2, 3, 4] for n in range(3)}


def test_a_trial_that_ends_its_workers_again_and_again_is_given_up(tmp_path):
    def hook(config, folder, epoch):
        if folder.name == "trial-1":
            raise Killed

    lines = []
    killed = until_done(make(tmp_path, trials=3), Fake(hook=hook), lines.append)
    assert killed == choosing.DEATHS
    assert [state for _, state, *_ in told(tmp_path)] == ["complete", "failed", "complete"]
    assert record(tmp_path)["trials"][1]["state"] == "lost"
    assert "ended 3 times with nothing saved between" in record(tmp_path)["trials"][1]["why"]


def test_a_worker_that_was_told_to_end_counts_as_no_death(tmp_path):
    """Ctrl-C while a run is built, when nothing can be saved, as often as one likes."""

    def hook(config, folder, epoch):
        raise Killed

    make(tmp_path, trials=1)
    for _ in range(choosing.DEATHS + 2):
        with contextlib.suppress(Killed):
            workers.work(tmp_path, quiet, Fake(hook=hook))
        workers.close(tmp_path)
    assert record(tmp_path)["state"] == "stopped"
    workers.work(tmp_path, quiet, Fake())
    assert [state for _, state, *_ in told(tmp_path)] == ["complete"]


def test_a_trial_whose_run_lives_elsewhere_is_left_alone(tmp_path, monkeypatch):
    """Its worker's last sign of life was earlier than that of its run."""
    monkeypatch.setattr(workers, "IDLE", 0.01)
    make(tmp_path, trials=1)
    with contextlib.suppress(Killed):
        workers.work(tmp_path, quiet, Fake(hook=once({("trial-0", 2)})))
    path = tmp_path / "trial-0" / "running.json"
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "machine": "elsewhere"}))
    assert choosing.next_job(choosing.opened(tmp_path)) == "wait"
    os.utime(path, (time.time() - 200,) * 2)
    workers.work(tmp_path, quiet, Fake())
    assert trained(tmp_path) == {"trial-0": [1, 2, 3, 4]}


def test_workers_at_once_share_the_points_of_a_grid(tmp_path, monkeypatch):
    """Threads stand for processes; what they print goes nowhere here, as all have one output."""
    monkeypatch.setattr(running, "output_to", lambda path: contextlib.nullcontext())
    make(tmp_path, trials=12, text="schedule.peak=choice(0.1,0.2,0.3,0.4); batch_size=pow2(16,64)", sampler="grid")
    fake = Fake(length=2, hook=lambda *_: time.sleep(0.01))
    threads = [threading.Thread(target=workers.work, args=(tmp_path, quiet, fake)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    rows = told(tmp_path)
    assert len({(p["schedule.peak"], p["batch_size"]) for _, _, p, _ in rows}) == len(rows) == 12
    assert trained(tmp_path) == {f"trial-{n}": [1, 2] for n in range(12)}
    assert record(tmp_path)["state"] == "done"


def test_a_worker_that_was_taken_for_dead_does_not_tell_the_trial_of_another(tmp_path):
    other = []

    def asleep(config, folder, epoch):
        if (folder.name, epoch) == ("trial-0", 2) and not other:
            path = tmp_path / claims.FOLDER / "0" / "running.json"
            path.write_text(json.dumps({"pid": os.getpid(), "token": "another"}))
            other.append(path)
        if (folder.name, epoch) == ("trial-0", 4):
            return Ended("failed", None, "another run has taken over")

    make(tmp_path, trials=1)
    search = choosing.opened(tmp_path)
    job = choosing.next_job(search)
    workers._one(search, job, quiet, Fake(hook=asleep))
    assert [state for _, state, *_ in told(tmp_path)] == ["running"]
    assert other[0].exists()  # it is the other one's


HOLD = """
import sys, time
from jaxcls.tune import claims
assert claims.take(sys.argv[1], "5")
print("held", flush=True)
time.sleep(60)
"""


def test_a_claim_of_a_killed_process_is_free_at_once_and_one_of_another_machine_after_minutes(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    assert claims.take(tmp_path, "5") is None and claims.held(tmp_path, "5")
    path = tmp_path / claims.FOLDER / "5" / "running.json"
    held = json.loads(path.read_text())
    process.kill()
    process.wait()
    path.write_text(json.dumps({**held, "machine": "elsewhere"}))
    assert claims.take(tmp_path, "5") is None  # it has given a sign of life a moment ago
    os.utime(path, (time.time() - 100,) * 2)
    assert claims.take(tmp_path, "5") is None
    path.write_text(json.dumps(held))
    claim = claims.take(tmp_path, "5")
    assert claim and claims.is_ours(claim)
    path.write_text(json.dumps({**held, "machine": "elsewhere"}))
    os.utime(path, (time.time() - 200,) * 2)
    assert claims.take(tmp_path, "5") and not claims.is_ours(claim)


def test_a_search_that_nobody_works_on_says_so(tmp_path):
    workers.work(make(tmp_path, trials=1), quiet, Fake())
    workers.close(tmp_path)
    assert record(tmp_path)["state"] == "done"
    workers.write(choosing.opened(tmp_path), "running")
    workers.close(tmp_path)
    assert record(tmp_path)["state"] == "stopped"


def test_repetitions_come_after_the_last_trial_and_test_after_the_last_repetition(tmp_path, monkeypatch):
    """What is done, in order; the seed that the trials have is not run again."""
    done = []

    def look(config, folder):
        done.append(("test", folder.parent.name, folder.name))
        assert config.seed == int(folder.name.removeprefix("seed-"))
        files.write_json(folder / "results.json", {"test": {"accuracy": 0.5, "step": 4}})

    def hook(config, folder, epoch):
        if epoch == 1:
            done.append((folder.parent.name if folder.name.startswith("seed") else "trial", folder.name))

    monkeypatch.setattr(running, "look_at_test", look)
    make(tmp_path, trials=4, repeat=2, seeds=3)
    workers.work(tmp_path, quiet, Fake(hook=hook))
    ranked = sorted(told(tmp_path), key=lambda row: -row[3][0])[:2]
    best = [f"repeat-{number}" for number, *_ in ranked]
    assert done[:4] == [("trial", f"trial-{n}") for n in range(4)]
    assert done[4:8] == [(name, f"seed-{seed}") for name in best for seed in (1, 2)]
    assert done[8:] == [("test", name, f"seed-{seed}") for name in best for seed in (0, 1, 2)]
    found = {entry["trial"]: entry for entry in record(tmp_path)["repeats"]}
    for number, _, _, values in ranked:
        assert found[number]["seeds"] == [0, 1, 2] and found[number]["validation"][0] == values[0]
        assert found[number]["test"]["accuracy"] == [0.5] * 3
    before = list(done)
    workers.work(tmp_path, quiet, Fake(hook=hook))
    assert done == before
    assert (tmp_path / f"trial-{ranked[0][0]}" / "results.json").is_file()
    others = {f"trial-{n}" for n in range(4)} - {f"trial-{number}" for number, *_ in ranked}
    assert not [name for name in others if (tmp_path / name / "results.json").exists()]


def test_a_repetition_that_fails_or_is_killed(tmp_path, monkeypatch):
    looked = []

    def look(config, folder):
        looked.append(folder.name)
        files.write_json(folder / "results.json", {"test": {"accuracy": 0.5}})

    monkeypatch.setattr(running, "look_at_test", look)

    def hook(config, folder, epoch):
        if folder.name == "seed-2" and epoch == 2:
            return Ended("failed", None, "loss is not finite")
        kill(config, folder, epoch)

    kill = once({("seed-1", 3)})
    make(tmp_path, trials=2, repeat=1, seeds=3)
    assert until_done(tmp_path, Fake(hook=hook)) == 1
    (repeat,) = tmp_path.glob("repeat-*")
    assert {name: epochs for name, epochs in trained(repeat).items() if name != "seed-0"} == {
        "seed-1": [1, 2, 3, 4],
        "seed-2": [1],
    }
    assert looked == ["seed-0", "seed-1"]
    assert repeats.ended(repeat / "seed-2") == "failed"
