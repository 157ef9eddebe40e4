"""Warnings of libraries reach the standard error, each kind once; nothing drowns it."""

import logging

import pytest
from absl import logging as absl_logging

from jaxcls.cli import chatter


@pytest.fixture(autouse=True)
def as_before():
    logger = logging.getLogger("absl")
    level, propagate, handlers = logger.level, logger.propagate, logger.handlers[:]
    yield
    logger.setLevel(level)
    logger.propagate, logger.handlers[:] = propagate, handlers


def test_a_warning_is_told_once_in_one_line(capsys):
    chatter.tell_warnings()
    chatter.tell_warnings()  # of a second run in one process
    for i in range(3):
        absl_logging.warning("Skipping merge in %s:\n\tno %d subdirs \x1b[2J", "a[1]", i)
    absl_logging.warning("another %s", "x" * 1000)
    absl_logging.info("saved")
    absl_logging.warning("Requested `tracked_metric`; did not provide metrics.")
    try:
        raise ValueError("told by whoever catches it")
    except ValueError:
        absl_logging.exception("in a thread")
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == "" and len(lines) == 2
    assert lines[0] == r"warning: Skipping merge in a[1]: no 0 subdirs \x1b[2J"
    assert lines[1].startswith("warning: another xxx") and len(lines[1]) < 200
