"""scripts/bench/aot.py: what it counts in a canned program, and where there is libtpu a small step."""

import importlib.util
import json
import sys

import pytest

from scripts import load

bench = load("bench/aot.py")
program = sys.modules["_aot_program"]

# Two products, one of them in a fusion; a fusion that only moves; a tuple that is reduced over chips.
TEXT = """HloModule jit_step, is_scheduled=true

%fused_computation (param_0: bf16[8,4]) -> f32[8,2] {
  %param_0 = bf16[8,4]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %convolution.1 = f32[8,2]{1,0:T(8,128)} convolution(%param_0, %param_1), dim_labels=bf_io->bf
}

%fused_computation.1 (param_0.1: bf16[1000,1000]) -> bf16[1000,1000] {
  %param_0.1 = bf16[1000,1000]{1,0} parameter(0)
  ROOT %transpose.1 = bf16[1000,1000]{0,1:T(8,128)(2,1)} transpose(%param_0.1), dimensions={1,0}
}

%fused_computation.2 (param_0.2: bf16[8,4]) -> bf16[10,6] {
  %maximum.1 = bf16[8,4]{1,0} maximum(%param_0.2, %constant)
  ROOT %pad.1 = bf16[10,6]{1,0} pad(%maximum.1, %constant.1), padding=1_1x1_1
}

ENTRY %main.1_spmd (param: bf16[8,4]) -> f32[8,2] {
  %param = bf16[8,4]{1,0:T(8,128)(2,1)} parameter(0)
  %fusion = f32[8,2]{1,0:T(8,128)} fusion(%param), kind=kOutput, calls=%fused_computation, metadata={op_name="jit(step)/transpose(jvp(Net))/dot"}, backend_config={"window_config":{"estimated_cycles":"70"}}
  %fusion.1 = bf16[1000,1000]{0,1:T(8,128)(2,1)} fusion(%p), kind=kLoop, calls=%fused_computation.1, backend_config={"window_config":{"estimated_cycles":"20"}}
  %fusion.2 = bf16[10,6]{1,0} fusion(%param), kind=kLoop, calls=%fused_computation.2, backend_config={"window_config":{"estimated_cycles":"5"}}
  %convolution.2 = bf16[8,2]{1,0} convolution(%param, %param), metadata={op_name="jit(step)/jvp(Net)/dot"}
  %exp = f32[2000,2000]{1,0:T(8,128)} exponential(%fusion), backend_config={"window_config":{"estimated_cycles":"5"}}
  %select-and-scatter = bf16[1000,1000]{1,0} select-and-scatter(%fusion.1, %x, %zero), select=%ge, scatter=%add
  %all-reduce = (bf16[100,10]{1,0}, bf16[24]{0:T(256)(128)(2,1)}) all-reduce(%fusion, %x), channel_id=1, to_apply=%add
  %all-reduce-start = f32[10]{0} all-reduce-start(%y), channel_id=2, to_apply=%add
  %gather = bf16[64,16]{1,0} all-gather(%x), channel_id=3, dimensions={0}
  %gather-start = (bf16[8,16]{1,0}, bf16[64,16]{1,0}) all-gather-start(%x), channel_id=4, dimensions={0}
  ROOT %copy = bf16[10,10]{1,0} copy(%convolution.2)
}
"""  # noqa: E501


def test_the_facts_of_a_program():
    assert program.facts(TEXT) == {
        "products": {"f32": 1, "bf16": 1},
        "large_float32": {"[2000, 2000]": 1},
        "copies": {"bf16[1000, 1000]": 1},
        "copy_bytes": 2_000_000,
        "all_reduces": {"bf16": {"number": 1, "bytes": 2048}, "f32": {"number": 1, "bytes": 40}},
        "all_reduces_started": 1,
        "collectives": {"all-gather": {"number": 2, "bytes": 4352, "started": 1}},
        "cycles": 100,
        "cycles_by_kind": {"products, backward": 70, "copies": 20, "pad": 5, "elementwise, forward": 5},
        "not_estimated": {"select-and-scatter": 1},
    }


def test_lines_of_text():
    result = {"model": "net", "fields": {"depth": 2}, "topology": "v5e:2x4", "chips": 8, "batch": 16, "jax": "0.10"}
    result |= {"precision": "bfloat16", "compile_cpu_s": 3.0, "flops": 98e9, "flops_in_theory": 1e11}
    result |= {"mesh": {"replica": 2, "data": 4}, "state_bytes": 5e6}
    result |= {"bytes_accessed": 2e9, "memory": {"temp": 3e6}} | program.facts(TEXT)
    text = "\n".join(bench.lines(result))
    assert text.startswith("net, depth=2, bfloat16, batch 16 on v5e:2x4 (8 chips)")
    assert "98.0 G, 0.980 of" in text and "2 x" not in text and "1 x bf16[1000, 1000]" in text
    assert "1 of bf16, 0.00 MB; 1 of f32, 0.00 MB; 1 do not block" in text and "70.0%" in text
    assert "mesh               replica 2, data 4; 5.00 MB of state a chip" in text
    assert "all-gathers        2, 0.00 MB; 1 do not block" in text
    assert "0.00 M, without 1 select-and-scatter" in text


def test_without_libtpu_a_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert bench.main(["--model", "resnet18", "--batch", "8"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"pip install 'jax[tpu]=={bench.jax.__version__}'" in line


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is missing: pip install 'jax[tpu]'")
def test_a_small_step_for_eight_chips(capsys):
    """One block: theory within 3 %, nothing copied that is large, the gradients in one sum over chips or two."""
    small = ["--set", "depth=1", "width=64", "heads=2", "--size", "32", "--classes", "10", "--batch", "64", "--json"]
    assert bench.main(["--model", "vit_tiny_patch16_224", "--topology", "v5e:2x4", *small]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chips"] == 8 and 0.9 < found["flops"] / found["flops_in_theory"] < 1.1
    assert found["products"]["bf16"] > 0 and not found["copies"] and found["memory"]["temp"] > 0
    assert 1 <= sum(of["number"] for of in found["all_reduces"].values()) <= 4 and found["cycles"] > 0
    assert bench.main(["--model", "resnet18", "--topology", "v5e:9x9x9", "--batch", "8"]) == 2
    assert bench.main(["--model", "resnet18", "--batch", "9"]) == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("error")]


@pytest.mark.slow
def test_a_step_whose_state_is_cut_for_eight_cpus(capsys):
    """The real step with the real rules: what is cut is gathered, and takes an eighth of the memory."""
    small = ["--set", "depth=1", "width=64", "heads=2", "--size", "32", "--classes", "10", "--batch", "16", "--json"]
    found = {}
    for name, cut in {
        "whole": [],
        "fsdp": ["--shard", "fsdp"],
        "hybrid": ["--mesh", "('replica', 2), ('data', -1)"],
    }.items():
        cut = [*cut, "--shard", "fsdp"] if name == "hybrid" else cut
        assert bench.main(["--model", "vit_tiny_patch16_224", "--topology", "cpu:8", *small, *cut]) == 0
        found[name] = json.loads(capsys.readouterr().out)
    state = {name: each["state_bytes"] for name, each in found.items()}
    assert state["fsdp"] < 0.2 * state["whole"] and state["fsdp"] < state["hybrid"] < 0.35 * state["whole"]
    arguments = {name: each["memory"]["argument"] for name, each in found.items()}
    assert arguments["fsdp"] < arguments["hybrid"] < arguments["whole"]
    assert found["fsdp"]["collectives"]["all-gather"]["number"] >= 5 and not found["whole"]["collectives"]
    assert found["hybrid"]["mesh"] == {"replica": 2, "data": 4}


@pytest.mark.parametrize("arguments, line", [
    (["--topology", "cpu:99"], "there are 8 CPU devices"),
    (["--topology", "cpu:8", "--batch", "9"], "does not divide by the 8"),
    (["--topology", "cpu:8", "--mesh", "('data', 3),"], "makes 3 devices, but there are 8"),
    (["--topology", "cpu:8", "--shard", "(('nothing', 'data'),)"], "config.parallel.shard 'nothing' matches no name"),
])  # fmt: skip
def test_what_cannot_be_compiled_is_a_line(arguments, line, capsys):
    small = ["--set", "depth=1", "width=64", "heads=2", "--size", "32", "--classes", "10", "--batch", "16"]
    assert bench.main(["--model", "vit_tiny_patch16_224", *small, *arguments]) == 2
    assert line in capsys.readouterr().err
