"""scripts/bench/ssl_step.py: what it compares is as much work as it says."""

import pytest

from scripts import load, run_json

bench = load("bench/ssl_step.py")


def test_a_supervised_step_has_the_views_and_the_net_of_a_two_view_step():
    ours, supervised = (bench.config_of(*of, 8) for of in (("moco", 16), (bench.SUPERVISED, 32)))
    assert ours.data.augment == supervised.data.augment and ours.model == supervised.model
    assert (ours.ssl.method, supervised.ssl.method) == ("moco", "") and ours.parallel.batch_norm == "groups(8)"
    assert 2 * ours.batch_size == supervised.batch_size


@pytest.mark.slow
def test_ssl_step(capsys):
    r = run_json(bench, capsys, "--methods simclr --batch 8 --width 4 --steps 1 --rounds 1")["steps"]
    assert r["supervised"]["cpu"] == 1 and r["simclr"]["flops"] == pytest.approx(1, rel=0.2)
    assert r["simclr"]["pictures_per_second"] == pytest.approx(16e3 / r["simclr"]["step_ms"])
