"""What all commands have in common: how a mistake is told, and what happens where nobody reads on."""

import subprocess
import sys
from pathlib import Path

import pytest

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# Prints far more than a pipe holds; then, with an argument, writes to another pipe that nobody reads.
CHATTY = """
import os, sys
from jaxcls.cli.entry import entry_point

@entry_point
def main(argv=None):
    if sys.argv[1:]:
        ends = os.pipe()
        os.close(ends[0])
        os.write(ends[1], b"work")
    for _ in range(100_000):
        print("one more line")

sys.exit(main())
"""


def test_a_mistake_is_a_line_for_each_problem_and_status_2(capsys, monkeypatch):
    @entry_point
    def main(argv=None):
        raise UserError("first\nsecond")

    assert main() == 2
    assert capsys.readouterr() == ("", "error: first\nerror: second\n")
    monkeypatch.setenv("JAXCLS_TRACEBACK", "1")
    assert main() == 2
    assert "Traceback" in capsys.readouterr().err


def test_what_main_returns_is_the_status():
    assert [entry_point(lambda argv: argv)(status) for status in (None, 0, 1)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):  # no mistake of a user
        entry_point(lambda argv: 1 / argv)(0)


def test_a_reader_that_has_seen_enough_ends_a_command_in_silence():
    run = subprocess.Popen([sys.executable, "-c", CHATTY], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout.readline() == b"one more line\n"
    run.stdout.close()
    assert run.stderr.read() == b""
    assert run.wait() == 0


def test_another_broken_pipe_is_a_fault():
    run = subprocess.run([sys.executable, "-c", CHATTY, "other"], capture_output=True, text=True)
    assert run.returncode == 1 and "BrokenPipeError" in run.stderr


# Files with an underscore are run by others, _input_peers.py in environments that need not hold jaxcls.
@pytest.mark.parametrize("script", sorted(str(path.relative_to(SCRIPTS)) for path in SCRIPTS.rglob("[!_]*.py")))
def test_every_script_starts_there(script):
    lines = (SCRIPTS / script).read_text().splitlines()
    starts = [lines[i - 1] for i, line in enumerate(lines) if line.startswith("def main(")]
    assert set(starts) <= {"@entry_point"}
