"""scripts/bench/step.py in its tiny form, and its peer."""

import json
import sys
import types

import numpy as np
import pytest

from jaxcls.errors import UserError
from scripts import SCRIPTS, load, run_json

bench, peers, peer = load("bench/step.py"), load("bench/_peers.py"), load("bench/_torch_peer.py")
keras_peer, jaxnn_peer = load("bench/_keras_peer.py"), load("bench/_jaxnn_peer.py")
DIGITS = str(SCRIPTS.parent / "configs" / "lenet5_digits.py")


def test_step(capsys):
    r = run_json(bench, capsys, "--model lenet5 --size 28 --classes 10 --channels 1 --batch 16 --steps 2 --rounds 2")
    assert (r["model"], r["batch"], r["picture"], r["devices"]) == ("lenet5", 16, [28, 28, 1], 8)
    # Multiply-adds of LeNet-5: 28x28x6x25 + 10x10x16x150 + 400x120 + 120x84 + 84x10. Each is 2 operations, done once
    # forward and twice backward, but no gradient flows into the pictures.
    first, rest = 117_600, 240_000 + 48_000 + 10_080 + 840
    assert r["flops_per_step"] == pytest.approx(16 * 2 * (2 * first + 3 * rest), rel=0.25)
    assert r["flops_per_second"] == pytest.approx(r["flops_per_step"] / r["step_ms"] * 1e3)
    assert r["pictures_per_second"] == pytest.approx(16e3 / r["step_ms"])
    assert 0 < r["step_ms_min"] <= r["step_ms"] and r["compile_s"] > 0 and r["peak_memory_bytes"] > 2**26


def test_step_and_loop(capsys):
    r = run_json(bench, capsys, f"--config {DIGITS}:tiny --loop --steps 3 --rounds 1")
    loop = r["loop"]
    assert loop["evaluation_and_checkpoint_every"] == 95 and loop["evaluates"]  # 5 epochs of 0.7 x 1797 / 64 steps
    assert loop["overhead_percent"] == pytest.approx(100 * (loop["step_ms"] / r["step_ms"] - 1))
    assert loop["overhead_percent_with_both"] >= loop["overhead_percent"]


def test_step_says_what_is_wrong(capsys, monkeypatch):
    assert bench.main(["--config", "configs/none.py"]) == 2
    assert "configs/none.py does not exist" in capsys.readouterr().err
    assert bench.main(["--config", DIGITS, "--batch", "4097"]) == 2
    assert "config.batch_size" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "torch", None)
    small = ["--model", "resnet18", "--size", "32", "--classes", "2", "--batch", "8"]
    with pytest.raises(UserError, match="pip install torch"):
        list(peers.peers_of(["torch"], bench.build_run(bench.parse(small)), None, None))


def test_of_several_peers_one_that_lacks_the_net_is_left_out(monkeypatch, capsys):
    run = bench.build_run(bench.parse(["--model", "resnet18", "--size", "32", "--classes", "2", "--batch", "8"]))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(peers.JaxnnPeer, "of_run", lambda *_: "peer")
    assert list(peers.peers_of(["torch", "jaxnn"], run, None, None)) == [("jaxnn", "peer")]
    assert "left out: --peer torch needs PyTorch" in capsys.readouterr().err


def test_peers_without_the_net(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # it is set: back to what it was
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "jaxnn", types.SimpleNamespace(is_model=lambda _: True))
    with pytest.raises(UserError, match="--peer keras knows no swin_t; it has resnet50"):
        keras_peer.build("swin_t", {}, (32, 32, 3), 10)
    with pytest.raises(UserError, match="--peer jaxnn knows no vit_small_patch16_224"):
        jaxnn_peer.build("vit_small_patch16_224", {}, 10)


def test_a_row_has_a_cell_for_each_peer():
    told = {"our_time": 1.5, "our_time_cpu": 1.25}
    result = {"model": "resnet50", "batch": 2, "step_cpu_ms": 10.0, "forward": {"step_cpu_ms": 4.0}}
    row = bench.row(result | {"peers": {"torch": {"step": told, "forward": told}}}, ["torch", "keras"])
    assert row == "| resnet50 | 2.0 | 1.25 | - | 5.0 | 1.25 | - | 1.50 | - |"


@pytest.mark.parametrize(("module", "name"), [(keras_peer, "mobilenet_v3_small"), (jaxnn_peer, "resnet18")])
@pytest.mark.slow
def test_a_peer_on_jax_trains(module, name):
    pytest.importorskip(module.__name__.split("_")[-2])
    size = ((32, 32, 3),) if module is keras_peer else ()
    net = module.build(name, {}, *size, 10)
    made = getattr(module, "KerasPeer" if module is keras_peer else "JaxnnPeer")
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    contender = made(net, images, np.arange(8), ((0.5,) * 3, (0.2,) * 3))
    contender.step(2)
    contender.forward(1)


@pytest.mark.parametrize(
    ("name", "fields", "classes", "parameters"),
    [("resnet18", {"stem": "cifar"}, 10, 11_173_962), ("mobilenet_v3_large", {}, 1000, 5_483_032)],
)
def test_the_peer_is_the_same_net(name, fields, classes, parameters):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    net = peer.build(name, fields, 3, classes)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, classes)


@pytest.mark.slow
def test_several_models_give_a_table(capfd):
    arguments = "--size 28 --classes 10 --channels 1 --batch 16 --steps 1 --rounds 1 --forward"
    assert bench.main(["--model", "lenet5", "lenet5_1998", *arguments.split()]) == 0
    head, _, *rows = capfd.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| lenet5", "| lenet5_1998"]
    assert all(row.count("|") == head.count("|") for row in rows)


@pytest.mark.slow
def test_the_peer_by_itself(capsys):
    pytest.importorskip("torchvision")
    small = "--model resnet18 --size 32 --classes 10 --batch 4 --steps 1 --rounds 2 --device cpu --precision float32"
    assert peer.main(small.split()) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pictures_per_second"] == pytest.approx(4e3 / result["step_ms"]) and result["compile_s"] > 0
