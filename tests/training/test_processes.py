"""Two processes on one machine train together, and get what one process gets with as many devices."""

import json
import socket

import numpy as np
import pytest
import runs


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_two_processes_equal_one(tmp_path, mode):
    arguments = ["--config.duration=30 steps", "--config.eval.every=15 steps", f"--config.parallel.mode={mode}"]
    runs.finish(runs.start(tmp_path / "one", *arguments, devices=2, report=False), tmp_path / "one")
    address = f"--coordinator_address=127.0.0.1:{free_port()}"
    both = [
        runs.start(tmp_path / "two", *arguments, address, "--num_processes=2", f"--process_id={i}", report=False)
        for i in range(2)
    ]
    for process in both:
        runs.finish(process, tmp_path / "two")
    one, two = runs.final_arrays(tmp_path / "one"), runs.final_arrays(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(value, two[name], rtol=1e-4, atol=1e-5, err_msg=name)
    results = [json.loads((tmp_path / w / "results.json").read_text())["test"] for w in ("one", "two")]
    assert results[0]["count"] == results[1]["count"] == 64
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-4)
