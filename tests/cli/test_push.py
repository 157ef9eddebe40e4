"""`jaxcls push`: what is shown, what is sent to a hub that runs here, and that it comes back as it was."""

import json
import shutil

import hub_server
import numpy as np
import pytest
import yaml

from jaxcls import models
from jaxcls.cli.command import main
from jaxcls.models import weight_files
from jaxcls.models.state_dict import to_state_dict
from jaxcls.settings import config_file
from jaxcls.tasks import networks
from jaxcls.training import loop


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a tiny run on digits."""
    config = config_file.load("lenet5_digits")
    config.duration, config.ema_decay = "20 steps", 0.0
    workdir = tmp_path_factory.mktemp("run") / "digits"
    loop.run(config, workdir)
    return workdir


@pytest.fixture
def server(tmp_path, monkeypatch):
    with hub_server.running() as running:
        hub_server.point(monkeypatch, running, tmp_path, HF_TOKEN=running.token)
        yield running


def test_a_dry_run_shows_the_card_and_asks_nobody(run, server, capsys):
    assert not main(["push", str(run), "someone/digits", "--dry-run", "--license", "mit"])
    out = capsys.readouterr().out
    front = yaml.safe_load(out.split("---")[1])
    assert front["license"] == "mit" and front["pipeline_tag"] == "image-classification" and "base_model" not in front
    figures = json.loads((run / "results.json").read_text())["test"]
    low, high = figures["interval"]
    assert f"| accuracy | {figures['accuracy']:.4f} | {low:.4f} to {high:.4f} |" in out
    assert "## Before you rely on it\n\n- " in out and "It was trained from scratch." in out
    assert "nothing was sent to someone/digits" in out and not server.asked


def test_what_is_sent_comes_back(run, server, capsys):
    assert not main(["push", str(run), "someone/digits", "--private"])
    assert f"{server.url}/someone/digits/commit/" in capsys.readouterr().out
    assert sorted(server.repos["someone/digits"]) == ["README.md", "config.json", "model.safetensors"]
    assert server.private["someone/digits"]
    back = weight_files.read("hf-hub:someone/digits")
    assert back.says.models == ("lenet5",) and len(back.says.classes) == 10 and back.says.where == "its config.json"
    module, variables, preprocessing = models.load("lenet5", pretrained="hf-hub:someone/digits")
    assert module.num_classes == 10 and preprocessing.transforms == ("resize(28, 28)",)
    ours = to_state_dict(networks.from_run(run).variables)
    theirs = to_state_dict(variables)
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    "arguments, token, message",
    [
        (["digits"], "hf_right", "'digits' is no name of a repository; write ORG/NAME"),
        (["someone/digits"], "", "nobody is logged in at the hub; run 'hf auth login', or set HF_TOKEN"),
        (["someone/digits"], "hf_wrong", "the hub does not know the token (401)"),
        (["some one/digits"], "hf_right", "is no name of a repository; write ORG/NAME"),
        (["someone/../digits"], "hf_right", "is no name of a repository; write ORG/NAME"),
        (["someone/a--b"], "hf_right", "is no name of a repository; write ORG/NAME"),
        (["someone/digits.git"], "hf_right", "is no name of a repository; write ORG/NAME"),
        (["someone/\n\x1b[2J"], "hf_right", "is no name of a repository; write ORG/NAME"),
        (["someone/" + "x" * 200], "hf_right", "is no name of a repository; write ORG/NAME"),
        (["others/new"], "hf_right", "the token may not write others/new (403); take one of its owner that may write"),
    ],
)
def test_what_is_refused_is_one_line(run, server, tmp_path, monkeypatch, capsys, arguments, token, message):
    hub_server.point(monkeypatch, server, tmp_path, **({"HF_TOKEN": token} if token else {}))
    server.foreign.add("others")
    assert main(["push", str(run), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not server.repos


def test_a_repository_of_somebody_else_stays_as_it_is(run, server, capsys):
    server.foreign.add("others")
    server.repos["others/birds"] = {"README.md": b"theirs"}
    assert main(["push", str(run), "others/birds"]) == 2
    assert "the token may not write others/birds (403)" in (err := capsys.readouterr().err) and err.count("\n") == 1
    assert server.repos == {"others/birds": {"README.md": b"theirs"}}


def test_an_upload_that_breaks_off_leaves_nothing_half_and_can_be_tried_again(run, server, capsys, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits half a minute between its attempts
    server.cut = True
    assert main(["push", str(run), "someone/digits"]) == 2
    err = capsys.readouterr().err
    assert "someone/digits can't be sent: " in err and "it is one commit, so try again" in err and err.count("\n") == 1
    assert not server.repos["someone/digits"] and sum(line.startswith("PUT") for line in server.asked) > 1
    server.cut = False
    assert not main(["push", str(run), "someone/digits"])
    assert sorted(server.repos["someone/digits"]) == ["README.md", "config.json", "model.safetensors"]


def test_a_run_without_figures_says_so(run, server, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("eval", "results.json"))
    assert not main(["push", str(bare), "someone/bare", "--dry-run"])
    out = capsys.readouterr().out
    assert "- Nothing was measured of these weights." in out and "note: nothing was measured of these weights" in out
    assert "accuracy" not in out and "nan" not in out


@pytest.mark.parametrize("name", ["folds", "empty"])
def test_what_is_no_run_of_one_network_is_one_line(server, tmp_path, capsys, name):
    (tmp_path / name).mkdir()
    if name == "folds":
        (tmp_path / "folds/folds.json").write_text('{"folds": 3, "done": {}}')
    assert main(["push", str(tmp_path / name), "someone/digits"]) == 2
    err = capsys.readouterr().err
    assert ("has 3 folds, and this is done with one of them" if name == "folds" else "holds no folder") in err
    assert err.count("\n") == 1 and not server.repos
