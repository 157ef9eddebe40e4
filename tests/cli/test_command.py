"""The one command: what it shows, how mistakes are told, what its verbs have in common, and what they load."""

import ast
import importlib
import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import jaxcls
from jaxcls.cli import command
from jaxcls.cli.verbs import GROUPS, VERBS, module

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = {"--coordinator_address", "--num_processes", "--process_id"}  # as JAX spells them
HEAVY = {"jax", "flax", "orbax", "matplotlib", "sklearn", "tensorflow", "grain", "rich", "PIL"}
LOADED = """
import contextlib, json, os, sys
from jaxcls.cli import command
loaded = {}
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(open(os.devnull, "w")), contextlib.suppress(SystemExit):
        command.main(arguments)
    loaded[" ".join(arguments)] = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps(loaded))
"""


def actions(verb):
    """The arguments of a verb."""
    return command.parser(verb)._actions


def options(verb):
    return [option for action in actions(verb) for option in action.option_strings]


def examples(verb):
    """The command lines in the help of a verb."""
    lines = importlib.import_module(module(verb)).__doc__.splitlines()
    matches = (re.match(r"    (?:source <\()?(jaxcls [^#]*?)\)?\s*(?:#.*)?$", line) for line in lines)
    return [match[1] for match in matches if match]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_alone_it_shows_the_verbs_in_groups(arguments, capsys):
    assert command.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(VERBS)
    assert [line for line in lines if line in GROUPS] == list(GROUPS)
    assert max(map(len, lines)) <= 100


def test_version(capsys):
    assert command.main(["--version"]) == command.main(["-V"]) == 0
    assert capsys.readouterr().out.splitlines() == 2 * [f"jaxcls {jaxcls.__version__}"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["trian"], "jaxcls has no verb 'trian'; did you mean 'train'?"),
        (["find_lr"], "did you mean 'find-lr'?"),
        (["help", "evla"], "did you mean 'eval'?"),
        (["xyzzy"], "jaxcls --help lists them"),
        (["train", "--wrkdir=x"], "there is no argument --wrkdir; did you mean '--workdir'?"),
        (["report", "x", "--config.seed=1"], "jaxcls report takes no --config.seed"),
        (["train", "configs/x.py"], "a config is given as --config=configs/x.py"),
        (["eval"], "RUN"),
        (["completion", "fish"], "invalid choice: 'fish'"),
        (["show-augment", "--rows", "0"], "'0' is no positive whole number"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, message, capsys):
    assert command.main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("error: ") and error.count("\n") == 1 and message in error


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_is_its_docstring_with_examples(verb, capsys):
    implementation = importlib.import_module(module(verb))
    for arguments in ([verb, "--help"], ["help", verb]):
        with pytest.raises(SystemExit) as stop:
            command.main(arguments)
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert text.startswith(f"usage: jaxcls {verb} ") and implementation.__doc__.strip() in text
    assert examples(verb) and all(line.split()[1] == verb for line in examples(verb))


@pytest.mark.parametrize("verb", VERBS)
def test_examples_in_the_help_of_a_verb_parse(verb):
    for line in examples(verb):
        parses(line)


def parses(line):
    """A command line, up to a pipe or comment; raises UserError where it can't be."""
    words = list(itertools.takewhile(lambda word: word not in ("|", ">"), shlex.split(line, comments=True)))
    assert words[0] == "jaxcls" and words[1] in VERBS, line
    settings, rest = command.take_settings(words[2:])
    assert not settings or importlib.import_module(module(words[1])).SETTINGS
    if "--help" not in rest:
        command.parser(words[1]).parse_args(rest)


def test_every_file_with_a_verb_is_listed():
    folder = ROOT / "jaxcls" / "cli"
    names = {path.stem for path in folder.glob("*.py") if "\ndef arguments(" in path.read_text()}
    assert names | {"check"} == {module(verb).rpartition(".")[2] for verb in VERBS}  # check takes train's


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_spelt_alike(verb):
    spelt = set(options(verb))
    assert not {option for option in spelt - PROCESSES if "_" in option}
    assert "--output" not in spelt and "-o" not in spelt


@pytest.mark.parametrize("verb", [verb for verb in VERBS if {"data"} & {action.dest for action in actions(verb)}])
def test_a_bare_path_is_a_folder_wherever_data_is_taken(verb):
    (action,) = [action for action in actions(verb) if action.dest == "data"]
    assert [action.type(text) for text in ("pictures", "/home/me/pictures", "~/tiles/2024")] == [
        "folder/pictures",
        "folder//home/me/pictures",
        f"folder/{Path.home()}/tiles/2024",
    ]
    for name in ("digits", "tfds/cifar10", "synthetic/512x32x3x10", "folder/pictures"):
        assert action.type(name) == name


def test_a_misspelt_name_of_a_set_stays_unless_there_is_such_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from jaxcls.cli.arguments import data_name

    assert [data_name(text) for text in ("digitz", "cifar10", "tfd/mnist")] == ["digitz", "cifar10", "tfd/mnist"]
    (tmp_path / "cifar10").mkdir()
    assert data_name("cifar10") == "folder/cifar10"


def test_help_loads_nothing_heavy():
    """In a process of its own, one verb after the other: the first that loads something is named."""
    words = [[], ["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)]
    process = subprocess.run([sys.executable, "-c", LOADED, json.dumps(words)], capture_output=True, text=True)
    loaded = json.loads(process.stdout.splitlines()[-1])
    assert len(loaded) == len(words)
    assert {name: HEAVY & {*modules} for name, modules in loaded.items() if HEAVY & {*modules}} == {}
    assert "numpy" not in loaded["--help"] and "ml_collections" not in loaded["--help"]


def test_the_page_of_commands_has_every_verb_and_its_examples_parse():
    page = (ROOT / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| `(jaxcls .*)` \|$", page, re.MULTILINE)
    assert [verb for verb, _, _ in rows] == list(VERBS)
    assert [title for title in re.findall(r"^## (.*)$", page, re.MULTILINE) if title in GROUPS] == list(GROUPS)
    for verb, _, example in rows:
        assert example.split()[1] == verb
        parses(example)


def test_commands_in_the_docstrings_of_configs_parse():
    for path in sorted((ROOT / "configs").rglob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())).replace("\\\n", "")
        lines = re.findall(r"^ *(jaxcls .*)$", text, re.MULTILINE)
        assert lines and "python " not in text, path
        for line in lines:
            parses(line)


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_command_lines_in_the_docs_parse(page):
    text = (ROOT / "docs" / page).read_text().replace("\\\n", "")
    for line in re.findall(r"^(?:    )?(jaxcls .*)$", text, re.MULTILINE):
        parses(line)
