"""What all commands have in common: how a mistake is told, and what happens where nobody reads on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError, of_machine

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


def test_a_bug_shows_its_traceback_and_a_line_that_says_so(capsys):
    assert entry_point(lambda argv: 1 / argv)(0) == 1
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error and "Traceback" in error
    assert error.splitlines()[-1].startswith("error: this is a bug of jaxcls")
    with pytest.raises(ModuleNotFoundError) as lacking:
        __import__("jaxcls.no_such_module")
    assert of_machine(lacking.value) is None  # our own is one


@pytest.mark.parametrize(
    "error, line",
    [
        (FileNotFoundError(2, "No such file or directory", "a/b"), "a/b: No such file or directory"),
        (OSError(28, "No space left on device", "x.csv"), "x.csv: No space left on device; free some space"),
        (OSError("odd"), "odd"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "a text can't be read or written ('utf-8'"),
        (MemoryError(), "the memory of this machine is not enough; ask for less"),
        (RecursionError("x"), "something is nested too deeply"),
        (RuntimeError("Unable to initialize backend 'cuda': no plugin"), "JAX finds no such device: Unable to"),
        (RuntimeError("Unknown backend: 'gpu' requested"), "JAX knows no such device: Unknown backend"),
        (
            ModuleNotFoundError("No module named 'jax'", name="jax"),
            "this needs jax, which is not installed: pip install",
        ),
        (UserError("a" * 5000), "a" * 100),
        (UserError("\x1b[31m"), "\\x1b[31m"),
    ],
)
def test_what_is_no_bug_is_a_line(capsys, error, line):
    def main(argv):
        raise error

    assert entry_point(main)(None) == 2
    out, said = capsys.readouterr()
    assert out == "" and said.startswith(f"error: {line}") and said.count("\n") == 1 and len(said) <= 400


PRINTS = r"""
import sys
from jaxcls.cli.entry import entry_point

@entry_point
def main(argv=None):
    print("caf\u00e9 \u732b \udcff")

sys.exit(main())
"""


@pytest.mark.parametrize(
    "environment, wanted",
    [
        ({"PYTHONIOENCODING": "ascii"}, b"caf\\xe9 \\u732b \\udcff\n"),
        ({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, b"caf\\xe9 \\u732b \\udcff\n"),
        ({"LANG": "C", "LC_ALL": "C"}, "café 猫 \\udcff\n".encode()),
        ({"PYTHONIOENCODING": "latin-1"}, b"caf\xe9 \\u732b \\udcff\n"),
    ],
)
def test_no_output_ends_by_a_character(environment, wanted):
    kept = {key: x for key, x in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONIO", "PYTHONUTF8"))}
    run = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, env=kept | environment)
    assert (run.returncode, run.stdout, run.stderr) == (0, wanted, b"")


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_device_that_is_not_there_is_a_line(platform):
    code = (
        "from jaxcls.cli.entry import entry_point\nimport jax\nraise SystemExit(entry_point(lambda _: jax.devices())())"
    )
    environment = {**os.environ, "JAX_PLATFORMS": platform, "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    lines = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert len(lines) == 1 and "JAX_PLATFORMS" in lines[0]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_takes_nothing_is_a_line_and_status_2(unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", PRINTS]
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert run.returncode == 2
    assert run.stderr == "error: the output, or a file: No space left on device; free some space\n"


HOMELESS = """
import os, pwd, pathlib
os.environ.pop("HOME", None)

def gone(*_):
    raise KeyError("getpwuid(): uid not found: 12345")  # docker run -u 12345

pwd.getpwuid = gone
from jaxcls.cli.command import main
raise SystemExit(main({arguments}))
"""


@pytest.mark.parametrize("arguments, words", [(["doctor"], "cache "), (["models", "lenet*"], "lenet5")])
def test_no_home_folder(arguments, words, tmp_path):
    caches = ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
    environment = {key: x for key, x in os.environ.items() if key not in caches}
    run = subprocess.run(
        [sys.executable, "-c", HOMELESS.format(arguments=arguments)],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0 and words in run.stdout and run.stderr == "", run.stderr
    assert list(tmp_path.iterdir()) == []


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


def test_a_thread_that_waits_for_ever_ends_with_the_error():
    code = (
        "import threading; from jaxcls.cli import entry; entry.PATIENCE = 0.1\n"
        "@entry.entry_point\n"
        "def main(argv=None):\n    threading.Thread(target=threading.Event().wait).start()\n"
        "    print('figures'); raise OSError(28, 'No space left on device', 'x')\n"
        "import sys; sys.exit(main())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2 and run.stdout == "figures\n" and run.stderr.startswith("error: x: No space left")
