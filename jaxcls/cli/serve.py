"""Serves models over HTTP: a page to drop pictures on, POST /predict, and the open inference protocol.

    jaxcls serve runs/digits                              # http://127.0.0.1:8000/
    jaxcls serve digits.onnx pets=runs/pets --port 8080   # several, each by a name; the first one is the default
    jaxcls serve digits.onnx --host 0.0.0.0 --key-file keys.txt --workers 2

RUN is a run's workdir (its best checkpoint, the newest where none is best; of a k-fold run the mean of its folds), the
folder of one step, or an ONNX file: these are answered by ONNX Runtime, and without JAX. One that jaxcls export has
written knows all that itself; of those from elsewhere --classes, --mean, --std and --eval-transform tell what they do
not say. A newer best checkpoint, or a file that was replaced, is taken up without a lost request. docs/serving.md has
the formats, the limits and what to do before others can reach it.

Lines for people go to the standard output, a JSON object for each request to the standard error. SIGTERM and Ctrl-C let
requests end that are on their way.

Exit status: 0 after SIGTERM; 130 after Ctrl-C; 1 where a worker dies at once again and again; 2 where an option, a
model or the port can't be used, which is told before the port opens, or where a model can't be warmed up.
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence

from jaxcls.cli import devices, foreign
from jaxcls.cli.arguments import expanded, positive
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.serve.settings import Settings

NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart", "httptools": "httptools"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add, default = parser.add_argument, Settings()
    add("run", metavar="RUN", nargs="+", help="workdir of a run, or MODEL.onnx; NAME=RUN for another name than its own")
    add("--host", default="127.0.0.1", help="to listen on; 0.0.0.0: other machines can ask (default %(default)s)")
    add("--port", type=port, default=8000, metavar="N", help="0: one that is free (default %(default)s)")
    add("--workers", type=positive, default=1, metavar="N", help="processes (default %(default)s)")
    add("--device", default="", choices=("", "cpu", "cuda", "tpu"), help="default: what JAX finds; of files the CPU")
    add("--reload-every", type=seconds, default=default.reload_every, metavar="S",
        help="seconds between looks for newer weights; 0: never (default %(default)s)")  # fmt: skip
    group = parser.add_argument_group("limits")
    add = group.add_argument
    add("--max-bytes", type=positive, default=default.max_bytes, metavar="N", help="of a request (%(default)s)")
    add("--max-pixels", type=positive, default=default.max_pixels, metavar="N", help="of a picture (%(default)s)")
    add("--max-pictures", type=positive, default=default.max_pictures, metavar="N", help="of a request (%(default)s)")
    add("--timeout", type=seconds, default=default.timeout, metavar="S", help="seconds for an answer (%(default)s)")
    text = "pictures that a worker takes on for a model before it says 503 (%(default)s)"
    add("--queue", type=positive, default=default.queue, metavar="N", help=text)
    group = parser.add_argument_group("who may ask")
    add = group.add_argument
    add("--key-file", type=expanded, metavar="FILE", help="API keys, one a line; default: everybody may ask")
    text = "a web page elsewhere whose scripts may ask: https://example.com; repeat it"
    add("--allow-origin", action="append", default=[], metavar="ORIGIN", help=text)
    text = "a name by which the service is called, beside this machine's: example.com, *.example.com, *; repeat it"
    add("--allowed-host", action="append", default=[], metavar="NAME", help=text)
    text = "collect what people say about answers, with their pictures, in this folder"
    parser.add_argument("--feedback", type=expanded, metavar="DIR", help=text)
    foreign.add_options(parser)


def port(text: str) -> int:
    """The number of a port."""
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; it is a number from 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """Seconds, from 0 to a day."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def run(args: argparse.Namespace) -> int:
    """Serves."""
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"serving needs {', '.join(missing)}: pip install {' '.join(NEEDED.values())}")
    from jaxcls.serve import keys, workers

    if not args.timeout:
        raise UserError("--timeout 0 leaves no time for an answer; give seconds")
    settings = Settings(
        max_bytes=args.max_bytes, max_pixels=args.max_pixels, max_pictures=args.max_pictures, timeout=args.timeout,
        queue=args.queue, keys=keys.read(args.key_file) if args.key_file else (), origins=tuple(args.allow_origin),
        hosts=tuple(args.allowed_host), feedback=args.feedback, reload_every=args.reload_every,
    )  # fmt: skip
    settings.check()
    told = _of_files(args)
    command = [sys.executable, "-m", "jaxcls.cli.serve"]
    return workers.serve(
        args.run, settings, command, host=args.host, port=args.port, workers=args.workers, device=args.device,
        foreign=told,
    )  # fmt: skip


def _of_files(args):
    """What was told of files that jaxcls did not write, or None. Raises UserError where runs alone are served."""
    if all(getattr(args, name) is None for name in ("classes", *foreign.NAMES)):
        return None
    from jaxcls.serve import artefacts

    if not any(artefacts.is_file(artefacts.named(path)[1]) for path in args.run):
        foreign.refuse(args)
    return foreign.given(args)


@entry_point
def work(argv: Sequence[str] | None = None) -> int:
    """A worker, which `jaxcls serve` starts."""
    del argv
    from jaxcls.serve import worker

    return worker.main(devices.set_up)


if __name__ == "__main__":
    sys.exit(work())
