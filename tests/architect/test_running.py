"""The runs of a search with processes that only pretend: what is run, what is written, going on, bad input."""

import json
import re

import jax
import numpy as np
import pytest
from small_search import CHOICE, STAGES, config

from jaxcls.ablate.running import Ended
from jaxcls.architect import nets, record, running
from jaxcls.cli import command
from jaxcls.errors import UserError
from jaxcls.nas import costs
from jaxcls.nas.space import Space, parse_stage
from jaxcls.settings import config_file
from jaxcls.training.signals import Stopped


def pretend(accuracy, log, stop_at=""):
    """A process that ends at once, with an accuracy by the folder; it stops by a signal where the folder says so."""

    def launch(made, folder):
        name = "/".join(folder.parts[-2:])
        log.append(name)
        if stop_at and stop_at in name:
            return Ended(0, "", 1.0, 1.0, signal=15)
        (folder / "config.json").write_text(json.dumps(json.loads(made.to_json_best_effort())))
        (folder / "results.json").write_text(json.dumps({"test": {"accuracy": accuracy(name), "count": 100}}))
        return Ended(0, "", 2.0, 3.0)

    return launch


@pytest.fixture
def memory(monkeypatch):
    """A controller that has chosen CHOICE."""
    logits = np.zeros((3, 5), np.float32)
    logits[range(3), CHOICE] = 2.0
    sizes = (5, 2, 4)
    history = np.array([[[1 / n] * n + [0] * (5 - n) for n in sizes]] * 100, np.float32)
    history[1::2] = 0  # 50 steps
    monkeypatch.setattr(record, "controller", lambda folder: {"logits": logits, "history": history, "baseline": 0.5})


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    return running.checked(config(), tmp_path_factory.mktemp("checked"))


def test_a_search_runs_all_nets_with_paired_seeds_and_writes_what_came_out(search, memory, tmp_path):
    log, lines = [], []
    accuracy = lambda name: 0.9 + 0.001 * ("found" in name) + 0.0005 * ("seed-1" in name) - 0.01 * ("-2/" in name)  # noqa: E731
    running.run(search, tmp_path, launch=pretend(accuracy, log), note=lines.append)
    of = [f"{name}/seed-{s}" for s in (0, 1) for name in ("found", "random-1", "random-2", "random-3", "lenet5")]
    assert [name if "seed" in name else "supernet" for name in log] == ["supernet", *of]
    written = json.loads((tmp_path / "nas.json").read_text())
    assert written["choice"] == list(CHOICE) and written["described"] == "skip, 5x5 e2 w12 /2"
    assert written["verdict"]["verdict"] == "no better than random"
    assert len(written["history"]) == len(written["history_steps"]) == 50
    page = (tmp_path / "nas.html").read_text()
    assert "no better than random" in page and "nothing was gained" in page and page.count("<svg") == 3
    assert re.search("block1.*?skip.*?20 %", page, re.DOTALL)  # of five options
    space = search.space
    for net in written["nets"][:4]:
        assert net["macs"] == space.macs(net["choice"]) <= space.macs(CHOICE)
        assert net["params"] == space.params(net["choice"])
    assert len({tuple(net["choice"]) for net in written["nets"][:4]}) == 4
    assert written["nets"][4]["params"] == 61_706 - 7 * 85  # LeNet-5 of three classes
    seeds = [json.loads((tmp_path / f"found/seed-{s}/config.json").read_text())["seed"] for s in (0, 1)]
    assert seeds == [0, 1]


def test_a_search_that_was_stopped_goes_on(search, memory, tmp_path):
    log = []
    with pytest.raises(Stopped, match="random-2"):
        running.run(search, tmp_path, launch=pretend(lambda name: 0.9, log, stop_at="random-2"), note=lambda line: None)
    before = list(log)
    running.run(search, tmp_path, launch=pretend(lambda name: 0.9, log), note=lambda line: None)
    assert log[len(before) :][0] == before[-1] and len(log) == len(before) + 10 - 2


def test_nets_that_other_searches_took_are_trained_beside(search, memory, tmp_path):
    wanted = search._replace(config={**search.config, "nas": {**search.config["nas"], "asked": 4}})
    took = {
        "random": {"choice": list(CHOICE), "score": 0.5, "asked": 4},  # the controller's own
        "evolution": {"choice": [0, 0, 0], "score": 0.6, "asked": 4},
    }
    log = []
    launch, ask = pretend(lambda name: 0.9, log), lambda supernet, file: took
    record = running.run(wanted, tmp_path, launch=launch, ask=ask, note=lambda line: None)
    assert [net["name"] for net in record["nets"]][:2] == ["found", "evolution-search"]
    assert record["nets"][1]["choice"] == [0, 0, 0] and "evolution-search/seed-1" in log
    assert "0.6000 by shared weights, the best of 4 nets" in (tmp_path / "nas.html").read_text()


def test_the_found_config_trains_that_net(search, memory, tmp_path):
    running.run(search, tmp_path, launch=pretend(lambda name: 0.9, []), note=lambda line: None)
    found = config_file.load(str(tmp_path / "found.py"))
    assert found.model.fields.blocks == ("skip", (5, 2, 12, 2)) and found.model.fields.first == 8
    assert found.nas.stages == () and found.batch_size == 32 and tuple(found.data.augment) == ("resize(28)",)


def test_another_config_is_refused_in_the_same_folder(search, memory, tmp_path):
    running.run(search, tmp_path, launch=pretend(lambda name: 0.9, []), note=lambda line: None)
    other = {**search.config, "nas": {**search.config["nas"], "rate": 0.5}}
    with pytest.raises(UserError, match=r"holds a run of another config: config.nas.rate"):
        running.run(search._replace(config=other), tmp_path, note=lambda line: None)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"nas__stages": "()"}, "the space has no stage"),
        ({"nas__stages": "('mbconv(8, kernels=3, expansions=1, skip=False)',)"}, "the space is empty"),
        ({"nas__stages": "('mbconv(8, kernels=4)',)"}, "kernels must be odd"),
        ({"nas__target": 9e9}, r"config.nas.target \(macs\) is 9e\+09, and no net of the space meets it: they have"),
        ({"nas__target": 5, "nas__cost": "flops"}, "config.nas.cost is 'flops'"),
        ({"nas__cost": "params"}, "has no effect without a config.nas.target"),
        ({"nas__target": 1e5, "nas__cost": "none.json"}, "config.nas.cost='none.json' can't be read"),
        ({"nas__reward": "accuracy"}, "config.nas.reward is 'accuracy'"),
        ({"nas__holdout": 0.999}, "takes 16 pictures for the weights, and there are 3"),
        ({"batch_size": 30}, "config.batch_size 30 can't be divided by 4"),
        ({"nas__reference": "resnet19"}, "there is no model 'resnet19'"),
        ({"model__neck": "fpn"}, "config.model.neck='fpn' does not go with an architecture search"),
        ({"data__augment": "('resize(28)', 'mixup(0.2)')"}, "mixes pictures"),
        ({"precise_bn": 3}, "config.precise_bn=3 does not go with an architecture search"),
        ({"eval__best": "mAP"}, "config.eval.best is 'mAP'"),
    ],
)
def test_what_cannot_be_searched_is_told_in_one_line_before_anything_compiles(given, message, tmp_path, monkeypatch):
    monkeypatch.delattr(jax.stages.Lowered, "compile")
    with pytest.raises(UserError, match=message) as raised:
        running.checked(config(**given), tmp_path)
    assert "\n" not in str(raised.value)


def test_random_nets_are_uniform_over_those_that_cost_no_more():
    space = Space(tuple(map(parse_stage, STAGES)), first=8)
    most = int(np.mean(costs.span(space, costs.counted(space, "macs"))))
    made = nets.random_nets(space, 100, most, seed=3)
    allowed = {c for c in np.ndindex(*space.sizes) if space.macs(c) <= most}
    assert {net.choice for net in made} == allowed and len(made) == len(allowed) < 40
    assert [net.choice for net in nets.random_nets(space, 5, most, seed=3)] == [net.choice for net in made[:5]]


def test_the_command_lists_a_space(tmp_path, capsys):
    path = tmp_path / "c.py"
    path.write_text(nets.as_file(config(), "A search."))
    assert not command.main(["nas", f"--config={path}", "--list"])
    out = capsys.readouterr().out
    assert out.startswith("40 choices of 3 decisions") and re.search("block2: 3x3 e1, 3x3 e2, 5x5 e1, 5x5 e2", out)
    assert command.main(["nas", f"--workdir={tmp_path}/none"]) == 2
    assert "holds no architecture search" in capsys.readouterr().err
