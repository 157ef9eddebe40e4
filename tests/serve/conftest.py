"""What several files here ask: each has a service of its own, that its tests share; models that need no files."""

import asyncio

import pytest


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The file of a tiny net."""
    from serve_http import net

    return net(tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def ask(path):
    """(method, address, options of httpx) -> what a service of that file answers, by the name "net"."""
    from serve_http import client

    with asyncio.Runner() as runner:
        service = client(path)
        asks, _ = runner.run(service.__aenter__())
        yield lambda *args, **options: runner.run(asks.request(*args, **options))
        runner.run(service.__aexit__(None, None, None))


@pytest.fixture
def fakes(monkeypatch):
    """Path -> what lies there: what `artefacts` and `choosing` find of models that need no files."""
    from fake_served import PLAN

    from jaxcls.serve import artefacts, choosing

    there = {}

    def find(path, name="", device="", threads=None, foreign=None):
        if isinstance(found := there[path], Exception):
            raise found
        return found

    monkeypatch.setattr(artefacts, "open_model", find)
    monkeypatch.setattr(artefacts, "stamp", lambda path: getattr(there[path], "stamp", ((path, str(there[path])),)))
    monkeypatch.setattr(choosing, "choose", lambda opened, share: (opened, PLAN))
    return there
