"""Every file of scripts/bench/ tells what it is for, and none fails with a traceback."""

import pytest

from scripts import SCRIPTS, load

FILES = sorted(path.name for path in (SCRIPTS / "bench").glob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_help(name, capsys):
    script = load(f"bench/{name}")
    if not hasattr(script, "main"):
        assert name.startswith("_") and script.__doc__
        return
    with pytest.raises(SystemExit) as ended:
        script.main(["--help"])
    assert ended.value.code == 0 and f"scripts/bench/{name}" in capsys.readouterr().out
