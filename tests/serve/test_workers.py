"""The processes of a service: a worker that dies comes back, requests end before the service does, JAX stays out."""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("httptools")
httpx = pytest.importorskip("httpx")

from serve_http import Process, net, picture  # noqa: E402

from jaxcls.serve import ports, workers  # noqa: E402
from jaxcls.serve.metrics import Metrics, shared  # noqa: E402
from jaxcls.serve.settings import Settings  # noqa: E402

BLOCK = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"jax", "jaxlib", "flax", "optax", "orbax", "ml_collections"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def events(service):
    return [json.loads(line) for line in service.errors.read_text().splitlines() if line.startswith("{")]


def test_a_file_is_served_without_jax_by_workers_that_come_back(path, tmp_path):
    """In one service, since each start takes seconds."""
    from jaxcls.runtime.predictor import FilePredictor

    predictor = FilePredictor.load(path)
    row = predictor(predictor.prepare(picture())[None], 3)[0]
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    with Process(tmp_path, path, "--workers", 2, PYTHONPATH=str(tmp_path)) as service:
        service.until_ready()
        answers, end = [], threading.Event()

        def ask():
            with httpx.Client(base_url=service.url, timeout=30) as client:
                while not end.is_set():
                    try:
                        answers.append(client.post("/predict", content=picture()))
                    except httpx.TransportError as error:  # those that the killed worker had
                        answers.append(error)

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for each in asking:
            each.start()
        deadline = time.monotonic() + 60
        while ports.DEALS and listening(service.url) < 2:  # each has a socket of its own once it is warm
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first = service.children()
        os.kill(first[0], signal.SIGKILL)
        while len([pid for pid in service.children() if pid != first[0]]) < len(first) or len(answers) < 200:
            assert time.monotonic() < deadline and service.process.poll() is None, service.errors.read_text()
            time.sleep(0.05)
        end.set()
        for each in asking:
            each.join()
        lost = [each for each in answers if isinstance(each, Exception)]
        good = [each for each in answers if not isinstance(each, Exception)]
        # what was on its way in that worker, and a connection that came while it was going
        assert len(lost) <= 2 * len(asking)
        assert {each.status_code for each in good} == {200}
        for answer in (each.json()["answers"][0] for each in good):
            assert answer["class"] == row["class"]
            assert answer["probability"] == pytest.approx(row["probability"], abs=1e-6)
        counters = httpx.get(f"{service.url}/metrics").text
        assert "jaxcls_worker_restarts_total 1\n" in counters
        (line,) = [line for line in counters.splitlines() if 'requests_total{route="predict",status="200"}' in line]
        assert float(line.split()[-1]) == pytest.approx(
            len(good), abs=len(asking)
        )  # summed over both, the dead one too
        assert [each["how"] for each in events(service) if each["event"] == "worker died"] == ["signal 9"]

        service.process.kill()  # and nobody is left
        service.process.wait()
        while any(os.path.exists(f"/proc/{pid}") for pid in service.seen):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_requests_end_before_the_service_does(path, tmp_path):
    """Half a body is there when Ctrl-C comes: the rest is read and answered, and nobody else gets in."""
    with Process(tmp_path, path) as service:
        service.until_ready()
        body = picture()
        with socket.create_connection(("127.0.0.1", service.port), 20) as link:
            link.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n")
            link.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body[:50])
            time.sleep(0.3)
            service.process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", service.port), 5).close()
                except OSError:
                    break
                assert time.monotonic() < deadline
                time.sleep(0.05)
            link.sendall(body[50:])
            found = b""
            while more := link.recv(65536):
                found += more
        assert found.startswith(b"HTTP/1.1 200") and b'"class":' in found
        assert service.process.wait(30) == 130


def watch(command, count=1):
    listener = ports.bind("127.0.0.1", 0)
    memory = shared(count + 1)
    job = workers.Job(("x",), "", Settings(timeout=1.0), "127.0.0.1", count, 0, listener.fileno(), memory, -1, False)
    return workers.Watch(job, command, listener, Metrics((), memory, count + 1, count))


OPENS = "import os, pickle, sys; job = pickle.load(sys.stdin.buffer); os.write(job.ready, b'1'); "


def test_workers_that_die_at_once_are_given_up(monkeypatch, capsys):
    monkeypatch.setattr(workers, "LONGEST", 0.05)
    found = watch([sys.executable, "-c", OPENS + "os._exit(3)"])
    assert found.run() == 1
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["event"] for each in told] == ["worker died"] * 4 + ["giving up"]
    assert told[0]["how"] == "status 3"


@pytest.mark.parametrize("status, expected", [(2, 2), (1, 1), (0, 1)])
def test_a_first_worker_that_can_not_begin_ends_the_service(status, expected, monkeypatch):
    assert watch([sys.executable, "-c", f"raise SystemExit({status})"], count=2).run() == expected


def test_a_first_worker_that_can_not_warm_up_ends_the_service_and_the_second_is_never_started():
    found = watch([sys.executable, "-c", OPENS + "assert job.row == 0 and not job.wait; os._exit(2)"], count=2)
    assert found.run() == 2 and found._workers[1].process is None


def test_a_model_that_opens_and_can_not_answer_is_a_line_and_status_2(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(net(tmp_path))
    model.graph.node[0].input[0] = "row"
    model.graph.node.insert(0, onnx.helper.make_node("Gather", ["image", "99"], ["row"], axis=1))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([99]), "99"))  # of 16
    onnx.save(model, tmp_path / "bad.onnx")
    with Process(tmp_path, tmp_path / "bad.onnx", "--workers", 2) as service:
        assert service.process.wait(60) == 2
        (line,) = [line for line in service.errors.read_text().splitlines() if "onnxruntime" not in line]
        assert line.startswith("error: bad can't be warmed up: ")
        with pytest.raises(httpx.TransportError):
            httpx.get(service.url)


COMPILES = "from jaxcls.serve import choosing; import time; choosing.choose = lambda *_: time.sleep(300)"


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_nobody_waits_for_a_model_that_warms_up_when_the_service_ends(path, tmp_path, number, status):
    (tmp_path / "sitecustomize.py").write_text(COMPILES)
    with Process(tmp_path, path, PYTHONPATH=str(tmp_path)) as service:
        end = time.monotonic() + 60
        while "is open" not in service.output.read_text():
            assert service.process.poll() is None and time.monotonic() < end, service.errors.read_text()
            time.sleep(0.02)
        assert httpx.get(f"{service.url}/readyz").status_code == 503
        service.process.send_signal(number)
        assert service.process.wait(20) == status  # of 300 s


def test_a_worker_that_does_not_end_is_killed(monkeypatch, capsys):
    monkeypatch.setattr(workers, "GRACE", -0.5)
    code = (
        OPENS + "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(1, b'.'); time.sleep(60)"
    )
    found = watch([sys.executable, "-c", code])
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    begun = time.monotonic()
    assert found.run() == 0 and time.monotonic() - begun < 20
    assert "worker killed" in capsys.readouterr().err


def listening(url):
    """How many sockets of this machine listen at the port of an address."""
    port = f":{int(url.rsplit(':', 1)[1].rstrip('/')):04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(row[1].endswith(port) and row[3] == "0A" for row in rows)
