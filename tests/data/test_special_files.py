"""Pipes, sockets and devices with the names of pictures: nothing waits for them, or reads without an end."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import encode, smooth

from jaxcls.data import folder, listing
from jaxcls.predict import reading

MAKE = {
    "pipe": os.mkfifo,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "link-to-pipe": lambda path: (os.mkfifo(path + ".pipe"), os.symlink(path + ".pipe", path)),
    "link-to-zeros": lambda path: os.symlink("/dev/zero", path),
    "link-to-null": lambda path: os.symlink("/dev/null", path),
    "link-to-link-to-pipe": lambda path: (
        os.mkfifo(path + ".pipe"),
        os.symlink(path + ".pipe", path + ".link"),
        os.symlink(path + ".link", path),
    ),
}


@pytest.fixture(params=MAKE)
def special(request, tmp_path):
    """The path of one beside a picture, a link to that picture and a link to nothing, in one of two class folders."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(encode(smooth(), "PNG"))
    os.symlink("1.png", tmp_path / "a/2.png")
    os.symlink("none.png", tmp_path / "a/3.png")
    MAKE[request.param](str(tmp_path / "a/x.png"))
    return tmp_path / "a/x.png"


def test_folders_leave_them_out_and_tell(special):
    source = folder.scan(special.parents[1])["all"]
    assert source.ids == ("a/1.png", "a/2.png", "a/3.png", "b/1.png")
    assert source.left_out[listing.SPECIAL][1].startswith("a/x.png")
    others = listing.Others()
    assert [Path(path).name for path, _ in reading.walk(str(special.parent), others)] == ["1.png", "2.png", "3.png"]
    assert any(path.endswith("x.png") for path in others.found[listing.SPECIAL][1])


@pytest.mark.timeout(10)
def test_by_name_or_pattern_they_are_a_line(special):
    for argument in (str(special), str(special.parent / "*.png")):
        found = [reading.read(lambda encoded, name: smooth(), *entry) for entry in reading.paths([argument])]
        problems = {Path(x.path).name: x.problem for x in found}
        assert "not a file" in problems["x.png"]
        assert argument == str(special) or problems["1.png"] is None and "No such file" in problems["3.png"]


def test_a_pipe_of_the_shell_is_read():
    program = (
        "from jaxcls.predict import reading\nimport sys\n"
        "print([reading.read(lambda encoded, name: len(encoded), *x)[1:] for x in reading.paths(sys.argv[1:])])"
    )
    encoded = encode(smooth(), "PNG")
    for path in ("/dev/stdin", "/dev/fd/0"):
        run = subprocess.run([sys.executable, "-c", program, path], input=encoded, capture_output=True, check=True)
        assert run.stdout.decode() == f"[({len(encoded)}, None)]\n", run.stderr
