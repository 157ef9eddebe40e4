"""Completion scripts: bash takes ours and completes as it says; zsh's and tcsh's name every verb."""

import shutil
import subprocess

import pytest

from jaxcls.cli import command
from jaxcls.cli.arguments import SHELLS
from jaxcls.cli.verbs import VERBS

ASK = """
source script.bash
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_shtab_jaxcls jaxcls "${COMP_WORDS[COMP_CWORD]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts():
    """Shell -> script."""
    from jaxcls.cli import completion

    return {shell: completion.script(shell) for shell in SHELLS}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_verb_is_in_the_script(scripts, shell, capsys):
    assert [verb for verb in VERBS if verb not in scripts[shell]] == []
    assert command.main(["completion", shell]) == 0
    assert capsys.readouterr().out == scripts[shell] + "\n"
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=scripts[shell], text=True, check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "words, answers",
    [
        (["tra"], {"train"}),
        (["c"], {verb for verb in VERBS if verb.startswith("c")}),
        (["train", "--wo"], {"--workdir"}),
        (["find-lr", "--da"], {"--data"}),
        (["completion", ""], {*SHELLS, "-h", "--help"}),
        (["clean", "--checks", "un"], {"unreadable"}),
        (["inspect", "ru"], {"runs"}),
        (["clean", "--apply", "fi"], {"findings.csv"}),
    ],
)
def test_bash_completes(scripts, tmp_path, words, answers):
    (tmp_path / "script.bash").write_text(scripts["bash"])
    (tmp_path / "runs").mkdir()
    (tmp_path / "rules.txt").touch()
    (tmp_path / "findings.csv").touch()
    run = subprocess.run(
        ["bash", "-c", ASK, "bash", "jaxcls", *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert {*run.stdout.split()} <= answers and {*run.stdout.split()} & answers
