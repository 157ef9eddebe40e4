"""Searches that ask a supernet's shared weights: against all choices of a small space, and the reward of a net that is
cut out of the supernet."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from small_search import config

from jaxcls.architect import nets, shared
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError
from jaxcls.nas import costs
from jaxcls.nas.space import Space, parse_stage
from jaxcls.settings.reader import resolve
from jaxcls.tasks.architecture import Architecture
from jaxcls.training import architecture, build, loop


def test_with_as_many_questions_as_choices_all_find_the_best():
    sizes = (3, 2, 4)
    table = np.random.default_rng(0).normal(size=sizes)
    asked = []

    def score(choice):
        asked.append(choice)
        return float(table[choice])

    found = shared.searched(sizes, score, 24, 0)
    best = list(map(int, np.unravel_index(table.argmax(), sizes)))
    for name in nets.SEARCHES:
        assert found[name] == {"choice": best, "score": table.max(), "asked": 24}
    assert sorted(asked) == sorted(set(asked)) and len(asked) == 24  # what is known is not asked again


def test_the_budget_is_kept_and_few_questions_find_less():
    sizes = (5,) * 6
    score = lambda choice: -sum((index - 3) ** 2 for index in choice)  # noqa: E731
    found = {count: shared.searched(sizes, score, count, 1) for count in (20, 200)}
    for count, each in found.items():
        assert {each[name]["asked"] for name in nets.SEARCHES} == {count}
    assert found[200]["evolution"]["score"] >= found[200]["random"]["score"] >= found[20]["random"]["score"]


def test_the_score_is_the_reward_of_the_net_within_the_supernet(tmp_path, bare_end):
    made = config(nas__target=3e5)
    loop.run(made, tmp_path)
    _, sizes, score = shared.scored(tmp_path)
    run = build.build(resolve(json.loads((tmp_path / "config.json").read_text())), workdir=tmp_path)
    task = run.task
    while not isinstance(task, Architecture):
        task = task.inner
    assert sizes == task.model.space.sizes
    source, choice = run.data.sources["train"], (1, 0, 2)
    rows = architecture.held_rows(np.asarray(source.labels), made.nas.holdout, made.seed)
    rows = np.random.default_rng(made.seed).permutation(rows)[: shared.PICTURES]
    images = np.stack([run.data.evaluation.prepare(source[int(row)]["image"], "") for row in rows])
    params = Checkpoints(tmp_path, read_only=True).restore(run.blank_state(), lambda line: None)[0].params
    batch = {"image": run.data.evaluation.device(jnp.asarray(images)), "label": np.asarray(source.labels)[rows]}
    logits = task.run(params, batch, jnp.asarray(choice))[0]
    accuracy = float((np.argmax(logits, -1) == batch["label"]).mean())
    space = task.model.space
    ratio = costs.total(space, costs.counted(space, "macs"), choice) / 3e5
    assert score(choice) == pytest.approx(accuracy - 0.1 * abs(ratio - 1), abs=1e-6)


def test_nets_of_searches_are_trained_once():
    space = Space((parse_stage("mbconv(8, times=2, kernels=(3, 5), expansions=(1, 2))"),), picture=(8, 8, 3))
    same, other = [0] * len(space.sizes), [1] * len(space.sizes)
    found = {"random": {"choice": same}, "evolution": {"choice": other}}
    assert [net.name for net in nets.by_searches(space, found, [tuple(same)])] == ["evolution-search"]
    assert [net.name for net in nets.by_searches(space, found, [])] == ["random-search", "evolution-search"]
    assert nets.by_searches(space, {}, []) == []


def test_a_folder_without_a_supernet_is_one_line(tmp_path):
    with pytest.raises(UserError, match="the supernet's weights could not be asked: "):
        shared.ask(tmp_path, tmp_path / "shared.json")
