"""What each of many files costs and comes to as a picture: a child of this small process for every one of them.

    ls -d pictures/* | jq -R . | python scripts/bench/_attack_worker.py      # paths from stdin, a JSON string a line

Prints a JSON object for each: name, bytes, answers (the shape or the line, for each of WAYS), seconds (of the
processor) and mebibytes (at the peak, over what the child began with) of the dearest way; then one with status, that of
the child as wait gives it. A child that takes SECONDS by the clock is ended, with status 14 (SIGALRM), and refused
more than MORE bytes. Linux only, as memory is told by /proc.
"""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.predict import reading

WAYS = (Preprocessing(("resize(256)", "center_crop(224)")), Preprocessing(picture=(32, 32, 3)))
SECONDS, MORE = 60, 4 * 2**30  # by the clock, bytes: where a child ends, or is refused memory


def used(what: str) -> int:
    """KiB of this process, of VmRSS (resident memory) or VmSize (addresses)."""
    return int(next(line for line in open("/proc/self/status") if line.startswith(what)).split()[1])


def one(path: str, small: bytes) -> dict[str, object]:
    """The record of a file; `small` is a picture that costs next to nothing."""
    for way in WAYS:
        way.prepare(small)  # the pages of a fork come one by one
    before, slowest, answers = used("VmRSS"), 0.0, []
    for way in WAYS:
        began = time.process_time()
        picture = reading.read(way.prepare, path, None)
        slowest = max(slowest, time.process_time() - began)
        answers.append(picture.problem if picture.image is None else list(picture.image.shape))
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    size = os.stat(path).st_size if os.path.isfile(path) else 0
    return {"name": path, "seconds": slowest, "mebibytes": more / 1024, "answers": answers, "bytes": size}


def serve() -> None:
    """Reads paths, prints records."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
    from pictures import encode, smooth

    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF"):  # so that all is imported
        for way in WAYS:
            way.prepare(encode(smooth(), kind))
    small = encode(smooth(), "PNG")
    for path in map(json.loads, sys.stdin):
        if not (child := os.fork()):
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_AS, (1024 * used("VmSize") + MORE,) * 2)
            print(json.dumps(one(path, small)), flush=True)
            os._exit(0)
        print(json.dumps({"name": path, "status": os.waitpid(child, 0)[1]}), flush=True)


if __name__ == "__main__":
    serve()
