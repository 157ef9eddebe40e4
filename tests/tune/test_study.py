"""The study of a search: who gets which trial, promotions, what a kill leaves, and what is refused."""

import dataclasses
import json
import math
import multiprocessing
import runpy
import shutil
import sys
import threading

import pytest

from jaxcls.errors import UserError
from jaxcls.tune import sampling, space, storage, study
from jaxcls.tune.space import parse
from jaxcls.tune.study import Plan

SPACE = parse(
    "schedule.peak=log(1e-3,1); optim.name=choice(sgd,lion); batch_size=pow2(32,128); seed=int(1,3) if optim.name=sgd"
)


def plan_of(**changes):
    config = {"batch_size": 64, "optim": {"name": "sgd"}}
    return Plan(**{"name": "digits", "config": config, "space": SPACE, "seed": 3, **changes})


def value_of(params):
    return -abs(math.log10(params["schedule.peak"]) + 1)


def run(own, plan, search, count, most=None):
    """The parameters of up to `count` trials of a study, each told its value."""
    found = []
    while len(found) < count and (asked := study.ask(own, plan, search, most)):
        study.tell(own, asked[0], "complete", [value_of(asked[1])])
        found.append(asked[1])
    return found


def test_a_plan_is_the_same_after_json():
    plan = plan_of(pruner="hyperband", epochs=27.0, objectives=("accuracy", "size"), directions=("max", "min"))
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan.rungs == (1, 3, 9)
    assert plan_of().rungs == ()


def take(search, plan, found):
    """One worker: asks until there is nothing."""
    own = study.create(search, plan)
    while asked := study.ask(own, plan, search):
        found.append(asked)
        study.tell(own, asked[0], "complete", [0.0])


def take_to_file(search, plan, name):
    found = []
    take(search, plan, found)
    (search / name).write_text(json.dumps(found))


def accounted(found, plan):
    points = space.grid(plan.space, plan.grid_points)
    assert sorted(number for number, _ in found) == list(range(len(points)))
    assert [params for _, params in sorted(found, key=lambda one: one[0])] == points


def test_each_point_of_a_grid_once_with_threads(tmp_path):
    plan, found = plan_of(sampler="grid", grid_points=2), []
    threads = [threading.Thread(target=take, args=(tmp_path / "s", plan, found)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    accounted(found, plan)


def test_each_point_of_a_grid_once_with_processes(tmp_path):
    plan, names = plan_of(sampler="grid", grid_points=2), ["a.json", "b.json"]
    (tmp_path / "s").mkdir()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=take_to_file, args=(tmp_path / "s", plan, name)) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    accounted([tuple(one) for name in names for one in json.loads((tmp_path / "s" / name).read_text())], plan)


def test_never_more_trials_than_wanted_and_more_when_more_are(tmp_path):
    plan = plan_of(sampler="random")
    own = study.create(tmp_path, plan)
    assert len(run(own, plan, tmp_path, 99, most=4)) == 4
    assert len(run(own, plan, tmp_path, 99, most=6)) == 2
    assert study.ask(own, plan_of(sampler="grid", grid_points=1), tmp_path, 6) is None


@pytest.mark.parametrize("sampler", ["random", "grid", "qmc", "tpe"])
def test_one_worker_draws_the_same_again_also_after_kills(tmp_path, sampler):
    plan = plan_of(sampler=sampler, grid_points=2)
    count = 13 if sampler == "tpe" else 5
    whole = run(study.create(tmp_path / "a", plan), plan, tmp_path / "a", count)
    killed = []
    own = study.create(tmp_path / "b", plan)
    for number in range(count):
        if number % 4 == 1 or number == count - 1:  # killed between ask and tell
            study.ask(own, plan, tmp_path / "b")
            own = study.opened(tmp_path / "b")[0]
        elif number % 4 == 3:  # killed while it drew: no parameter, or one, is there
            trial = own.ask()
            if number % 8 == 3:
                plan.space.dimensions[1].suggest(trial)
            own = study.opened(tmp_path / "b")[0]
        else:
            assert study.ask(own, plan, tmp_path / "b")[0] == number
        killed.append(study.params(own, plan, number))
        study.tell(own, number, "complete", [value_of(killed[-1])])
    assert killed == whole
    assert [record.params for record in study.records(own, plan)] == whole


def advance(own, plan, search, curves):
    """A worker that trains one trial, promoted or new, until it is stopped or at its end. Returns (folder, epochs)."""
    promoted = study.promote(own, plan, search)
    number, first = promoted or (study.ask(own, plan, search)[0],) * 2
    before = {r.number: r for r in study.records(own, plan)}[first]
    ran = []
    for epoch in range(len(before.history) + 1, round(plan.epochs) + 1):
        ran.append(epoch)
        if why := study.judge(own, plan, number, epoch, epoch, curves[first] + epoch / 100):
            study.tell(own, number, "pruned", [curves[first] + epoch / 100], why)
            return first, ran
    study.tell(own, number, "complete", [curves[first]])
    return first, ran


def test_halving_trains_no_epoch_twice_and_promotes_the_best(tmp_path):
    """Worked by hand: eta 3, rungs at 1 and 3 of 9 epochs. A trial's values grow by a bit."""
    plan = plan_of(sampler="random", pruner="halving", epochs=9.0)
    own = study.create(tmp_path, plan)
    curves = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.9, 4: 0.5, 5: 0.4, 8: 0.6}
    ran = [advance(own, plan, tmp_path, curves) for _ in range(9)]
    assert ran == [
        (0, [1]),
        (1, [1]),
        (2, [1, 2, 3]),  # the best of three goes on at once, and is alone at the next rung
        (3, [1, 2, 3]),  # the best of four
        (4, [1]),
        (5, [1]),
        (4, [2, 3]),  # now there are six, and it is their second: it goes on where it was stopped
        (3, [4, 5, 6, 7, 8, 9]),  # that makes three at the second rung, whose best it is
        (8, [1, 2, 3]),
    ]
    records = study.records(own, plan)
    assert {r.number: r.state for r in records} == {n: "complete" if n == 3 else "pruned" for n in curves}
    assert [r.index for r in records] == list(range(7)) and len(own.trials) == 9
    for record in records:
        epochs = [epoch for first, part in ran if first == record.number for epoch in part]
        assert epochs == list(range(1, len(epochs) + 1)) == list(record.history)
    assert records[3].latest == 7 and records[3].params == study.params(own, plan, 7) == study.params(own, plan, 3)
    assert study.promote(own, plan, tmp_path) is None


def test_brackets_of_hyperband_do_not_meet(tmp_path):
    """Of 9 epochs with rungs 1 and 3: 9 trials stop first at 1, 5 at 3, 3 never (brackets of Li et al. 2018)."""
    plan = plan_of(sampler="random", pruner="hyperband", epochs=9.0)
    own = study.create(tmp_path, plan)
    first_stop = []
    for index in range(17):  # worse and worse
        number, _ = study.ask(own, plan, tmp_path)
        stops = [e for e in range(1, 10) if study.judge(own, plan, number, e, e, -index)]
        first_stop.append(stops[0] if stops else None)
        study.tell(own, number, "pruned" if stops else "complete", [-index])
    assert first_stop == [1] * 9 + [3] * 5 + [None] * 3
    promoted = [study.promote(own, plan, tmp_path) for _ in range(6)]
    assert [one and one[1] for one in promoted] == [0, 1, 2, 9, None, None]  # a third of nine, a third of five


def test_a_trial_that_is_killed_while_it_is_pruned_is_pruned(tmp_path):
    plan = plan_of(sampler="random", pruner="halving", epochs=9.0)
    own = study.create(tmp_path, plan)
    number, _ = study.ask(own, plan, tmp_path)
    assert study.judge(own, plan, number, 1, 1.0, 0.5)
    again = study.opened(tmp_path)[0]
    assert study.judge(again, plan, number, 1, 1.0, 0.5) == "stopped at 1 epochs, not among the best 1/3 there"


def test_rungs_are_reached_at_whole_steps_near_them(tmp_path):
    plan = plan_of(sampler="random", pruner="halving", epochs=9.0)
    own = study.create(tmp_path, plan)
    number, _ = study.ask(own, plan, tmp_path)
    assert not study.judge(own, plan, number, 1, 0.7, 0.9)
    assert study.judge(own, plan, number, 2, 0.8, 0.5)
    assert study.records(own, plan)[0].attrs["rungs"] == {"values": {"0": 0.9}, "stop": 0}  # the best until there


def test_the_median_rule_through_the_study(tmp_path):
    plan = plan_of(sampler="random", pruner="median")
    own = study.create(tmp_path, plan)
    for value in [0.1, 0.2, 0.3, 0.4, 0.5]:
        number, _ = study.ask(own, plan, tmp_path)
        assert [study.judge(own, plan, number, e, e, value) for e in (1, 2, 3)] == [""] * 3
        study.tell(own, number, "complete", [value])
    worse, _ = study.ask(own, plan, tmp_path)
    assert study.judge(own, plan, worse, 1, 1, 0.29) == ""  # spared
    assert study.judge(own, plan, worse, 2, 2, 0.29) == "by the median rule"
    better, _ = study.ask(own, plan, tmp_path)
    assert [study.judge(own, plan, better, e, e, 0.31) for e in (1, 2, 3)] == [""] * 3


def test_a_trial_ends_once_and_is_told_in_words(tmp_path):
    plan = plan_of(sampler="random", objectives=("accuracy", "size"), directions=("max", "min"))
    own = study.create(tmp_path, plan)
    for _ in range(4):
        number, _ = study.ask(own, plan, tmp_path)
        assert study.judge(own, plan, number, 1, 1.0, 0.5) == ""
    study.tell(own, 0, "complete", [0.9, 3.0])
    study.tell(own, 0, "failed", why="too late")
    study.tell(own, 1, "complete", [math.nan, 3.0])
    study.tell(own, 2, "failed", why="out of memory")
    study.note(own, 3, epochs=2.5)
    records = study.records(study.opened(tmp_path)[0], plan)
    assert [r.state for r in records] == ["complete", "failed", "failed", "running"]
    assert [r.values for r in records] == [(0.9, 3.0), (math.nan, 3.0), (), ()] or math.isnan(records[1].values[0])
    assert "must be finite" in records[1].attrs["why"] and records[2].attrs["why"] == "out of memory"
    assert records[3].attrs["epochs"] == 2.5 and "why" not in records[0].attrs


def one_line(what, *arguments):
    with pytest.raises(UserError) as caught:
        what(*arguments)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


CHANGED = {
    "space": ({"space": parse("seed=int(1,9)")}, "its space is 'schedule.peak="),
    "config": (
        {"config": {"batch_size": 64, "optim": {"name": "lion"}}},
        "its config.optim.name is 'sgd', here 'lion'",
    ),
    "seed": ({"seed": 4}, "its seed is 3, here 4"),
    "sampler": ({"sampler": "qmc"}, "its sampler is 'tpe', here 'qmc'"),
    "objectives": ({"objectives": ("loss",), "directions": ("min",)}, "its directions is ['max'], here ['min']"),
    "rate": ({"space": dataclasses.replace(SPACE, rate_per_batch=64)}, "its space.rate_per_batch is 0, here 64"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_another_plan_in_the_folder_is_refused_and_leaves_it_alone(tmp_path, case):
    changes, said = CHANGED[case]
    run(study.create(tmp_path, plan_of()), plan_of(), tmp_path, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert said in one_line(study.create, tmp_path, plan_of(**changes))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(study.create(tmp_path, plan_of()).trials) == 2


def test_what_is_no_folder_of_a_search(tmp_path):
    assert "has no search" in one_line(study.opened, tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    assert "workdir of a run" in one_line(study.create, tmp_path / "run", plan_of())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]
    for text in ("{", "{}", "[]", '{"name": 1}', "null"):
        (tmp_path / "plan.json").write_text(text)
        one_line(study.opened, tmp_path)
        one_line(study.create, tmp_path, plan_of())


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    assert "can't be written" in one_line(study.create, tmp_path / "file", plan_of())
    assert "can't be written" in one_line(study.create, tmp_path / "file" / "s", plan_of())


def test_a_folder_that_is_read_only(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(storage, "JournalFileBackend", refuse)
    assert "Read-only file system; give another --workdir" in one_line(study.create, tmp_path, plan_of())
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    "url",
    ["nonsense", "redis://h/0", "sqlite:////nowhere/at/all.db", "nosuch://me:secret@h/x", "mysql://me:secret@h/x"],
)
def test_a_storage_that_cannot_be_reached(tmp_path, url):
    line = one_line(study.create, tmp_path / "s", plan_of(), url)
    assert "is the URL right, and the database running?" in line and "secret" not in line
    assert not (tmp_path / "s" / "plan.json").exists()


def test_a_database_keeps_a_study_and_one_folder_has_one_storage(tmp_path):
    url, plan = f"sqlite:///{tmp_path}/all.db", plan_of(sampler="qmc")
    found = run(study.create(tmp_path / "s", plan, url), plan, tmp_path / "s", 3)
    again, same = study.opened(tmp_path / "s")
    assert same == plan and [r.params for r in study.records(again, plan)] == found
    assert len(study.create(tmp_path / "s", plan).trials) == 3
    assert "has its study in sqlite" in one_line(study.create, tmp_path / "s", plan, "sqlite:///other.db")
    assert "all.db has another search: its sampler is 'qmc'" in one_line(
        study.create, tmp_path / "t", plan_of(seed=5), url
    )
    assert not (tmp_path / "t" / "plan.json").exists()


def test_a_journal_whose_last_line_is_torn_goes_on_and_a_damaged_one_is_told(tmp_path):
    plan = plan_of(sampler="random")
    run(study.create(tmp_path, plan), plan, tmp_path, 2)
    journal = tmp_path / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"wor')
    again = study.opened(tmp_path)[0]
    assert len(run(again, plan, tmp_path, 1)) == 1 and journal.read_bytes().startswith(whole)
    assert len(study.opened(tmp_path)[0].trials) == 3
    journal.write_bytes(b"nonsense\n" + whole)
    assert "can't be read" in one_line(study.opened, tmp_path)


def test_trials_without_their_study_are_told(tmp_path):
    plan = plan_of(sampler="random")
    run(study.create(tmp_path, plan), plan, tmp_path, 1)
    (tmp_path / "trial-0").mkdir()
    (tmp_path / "study.journal").unlink()
    assert "study.journal is gone" in one_line(study.opened, tmp_path)


def test_a_search_can_be_moved(tmp_path):
    plan = plan_of(sampler="random")
    run(study.create(tmp_path / "a", plan), plan, tmp_path / "a", 1)
    shutil.move(tmp_path / "a", tmp_path / "b")
    again, plan = study.opened(tmp_path / "b")
    assert len(run(again, plan, tmp_path / "b", 1)) == 1
    assert len(study.create(tmp_path / "b", dataclasses.replace(plan, name="b")).trials) == 2


def test_without_optuna_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert 'pip install "jaxcls[tune]"' in one_line(runpy.run_path, sampling.__file__)
