"""Good clients of serve_attack.py: a server of a tiny net, requests whose answers are known, and what came of them."""

import collections
import hashlib
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

from _serve_client import Load, Server, form, post
from _serve_hostile import picture

from jaxcls.runtime.predictor import FilePredictor

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 16


def net(path: Path, seed: int = 0) -> Path:
    """A tiny ONNX file: mean colour times drawn weights, pictures of 16 x 16 as it sees them."""
    sys.path.insert(0, str(ROOT / "tests"))
    import onnx_files

    return onnx_files.model(path, onnx_files.told(), kernel=onnx_files.weights(seed=seed))


def start(path: Path, folder: Path, core: int | None, *more: str) -> Server:
    """Our server of a file, by the name "net"."""
    command = [sys.executable, "-m", "jaxcls", "serve", f"net={path}", "--port", "PORT", *more]
    return Server(command, folder / "log", core, more={"PYTHONPATH": str(ROOT)})


class Good:
    """Good requests, some with several pictures, and whether an answer is right."""

    def __init__(self, *paths: Path):
        rng, self.pictures = random.Random(0), []
        for count in [1] * 9 + [4] * 3:
            self.pictures.append([picture(rng) for _ in range(count)])
        self.requests = [post("/predict", *form([("a", p) for p in some])) for some in self.pictures]
        self.rows = {digest(path): self.expected(path) for path in paths}
        self.versions: collections.Counter[str] = collections.Counter()

    def expected(self, path: Path) -> list[list[dict]]:
        """What a file answers, without a server."""
        predictor = FilePredictor.load(str(path), threads=1)
        return [[predictor(predictor.prepare(p)[None], 3)[0] for p in some] for some in self.pictures]

    def check(self, which: int, body: bytes) -> bool:
        """Whether all of the answer is what the version that it names gives."""
        given = json.loads(body)
        version = given["version"].rpartition("-")[2]
        self.versions[version] += 1
        if version not in self.rows:
            return False
        wanted, rows = self.rows[version][which], given["answers"]
        return len(rows) == len(wanted) and all(map(same, rows, wanted))


def digest(path: Path) -> str:
    """What versions end with."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def same(given: dict, wanted: dict) -> bool:
    """Whether two rows are the same answer."""
    return given.get("class") == wanted["class"] and abs(given["probability"] - wanted["probability"]) <= 1e-6


def judge(seen: Load, note: Callable[[str], None], allowed: set[str] = frozenset()) -> None:
    """Notes what good clients should not have seen."""
    for kind in set(seen.errors) - allowed:
        note(f"good clients: {seen.errors[kind]} times {kind}")
    if not seen.latencies:
        note("good clients had no answer")


def good_ones(seen: Load) -> str:
    """What good clients have seen, in words."""
    slowest = max(seen.latencies, default=float("nan"))
    return f"{len(seen.latencies)} right; {listed(seen.errors) or 'no errors'}; slowest {slowest:.1f} s"


def listed(counts: collections.Counter) -> str:
    """Kinds with their numbers."""
    return ", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items()))
