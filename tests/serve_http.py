"""A service for tests: a tiny ONNX file behind the application, in this process or in others."""

import asyncio
import contextlib
import dataclasses
import io
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import onnx_files
import pytest
from PIL import Image

from jaxcls.serve import app, choosing
from jaxcls.serve.artefacts import open_model
from jaxcls.serve.choosing import Plan
from jaxcls.serve.registry import Registry
from jaxcls.serve.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PLAN = Plan(1, 1, {8: 0.001}, "a plan")


def net(folder):
    """The file of a tiny net for pictures of any size, 16 x 16 when it sees them; its classes are cat, dog, owl."""
    return onnx_files.model(Path(folder) / "net.onnx", onnx_files.told())


def picture(seed=0, size=(30, 40), kind="png"):
    """The bytes of a file."""
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


class Gated:
    """A predictor that answers when its gate is open, and raises `fault` where that is set; `of` gives it another's
    answers."""

    def __init__(self):
        self.predictor, self.gate, self.entered = None, threading.Event(), threading.Event()
        self.asked, self.fault = 0, None
        self.gate.set()

    def of(self, predictor):
        self.predictor = predictor
        return self

    def __getattr__(self, name):
        return getattr(self.predictor, name)

    def __call__(self, images, top):
        self.entered.set()
        self.gate.wait(20)
        self.asked += len(images)
        if self.fault:
            raise self.fault
        return self.predictor(images, top)


@contextlib.asynccontextmanager
async def client(path, settings=None, change=lambda predictor: predictor, queue=64, **headers):
    """(an httpx client of a service of the file, its registry); `change` is made to the predictor."""
    settings = settings or Settings()
    served = open_model(str(path), "net")
    served = dataclasses.replace(served, predictor=change(served.predictor))
    choose, choosing.choose = choosing.choose, lambda opened, share: (opened, PLAN)  # nothing is measured
    try:
        registry = Registry([served], poll=0, queue=queue, note=lambda line: None)
        application = app.create(registry, settings)
        async with application.router.lifespan_context(application):
            while not registry.ready:
                await asyncio.sleep(0.002)
            transport = httpx.ASGITransport(app=application)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as asks:
                yield asks, registry
    finally:
        choosing.choose = choose


def run(body, path, settings=None, **options):
    """What `body(client, registry)` gives, of a service of its own."""

    async def main():
        async with client(path, settings, **options) as (asks, registry):
            return await body(asks, registry)

    return asyncio.run(main())


def same(answer, row):
    """Asserts that an answer is the predictor's row."""
    assert answer["class"] == row["class"] and answer["set"] == row["set"] and answer["outlier"] == row["outlier"]
    assert answer["probability"] == pytest.approx(row["probability"], abs=1e-6)
    assert [best["class"] for best in answer["top"]] == [best["class"] for best in row["top"]]
    assert [b["probability"] for b in answer["top"]] == pytest.approx([b["probability"] for b in row["top"]], abs=1e-6)


class Process:
    """`jaxcls serve` as a process, on a free port; `lines` of its output and `errors` are files."""

    def __init__(self, folder, *arguments, **environment):
        self.port, self.folder = free_port(), Path(folder)
        self.url = f"http://127.0.0.1:{self.port}"
        self.seen = set()
        command = [sys.executable, "-m", "jaxcls", "serve", *map(str, arguments), "--port", str(self.port)]
        self.output, self.errors = self.folder / "output", self.folder / "errors"
        with open(self.output, "w") as output, open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=errors, cwd=ROOT, env={**os.environ, **environment}
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def until_ready(self, seconds=60):
        """Waits until all models are warm."""
        end = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None and time.monotonic() < end, self.errors.read_text()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            time.sleep(0.05)

    def children(self):
        """The ids of its workers."""
        there = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        found = [int(pid) for pid in there.split()]
        self.seen |= {*found}
        return found


def free_port():
    """A port that nobody has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
