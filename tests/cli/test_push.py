"""`jaxcls push`: what is shown, what is sent to a hub that runs here, and that it comes back as it was."""

import json

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
    ],
)
def test_what_is_refused_is_one_line(run, server, tmp_path, monkeypatch, capsys, arguments, token, message):
    hub_server.point(monkeypatch, server, tmp_path, **({"HF_TOKEN": token} if token else {}))
    assert main(["push", str(run), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not server.repos
