"""What process 0 computes reaches the others; the broadcast itself is that of tests/training/test_processes.py."""

import math

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from jaxcls.errors import UserError
from jaxcls.training import sharing


@pytest.fixture
def two(monkeypatch):
    """Two processes, one after the other: the second is told what the first has sent."""
    sent = []

    def run(index, compute):
        received = iter(sent)

        def broadcast(value):
            if index == 0:
                sent.append(value)
                return value
            return next(received)

        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(jax, "process_index", lambda: index)
        monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", broadcast)
        return sharing.from_main(compute)

    return run


def test_figures_reach_the_other_process_to_the_last_bit(two):
    figures = {"loss": 0.1 + 0.2, "worst": math.inf, "name": "ü", "count": 3}
    assert two(0, lambda: figures) == figures
    assert two(1, lambda: pytest.fail("the other process computes nothing")) == figures


def test_an_error_there_ends_both(two):
    def broken():
        raise MemoryError("too large")

    with pytest.raises(MemoryError):
        two(0, broken)
    with pytest.raises(UserError, match="process 0 can't go on"):
        two(1, dict)


def test_one_process_computes_for_itself():
    assert sharing.from_main(lambda: {"a": np.float32(1)}) == {"a": 1}
