"""Predicts the classes of pictures with a trained model, any number of them.

    jaxcls predict runs/mine photo.jpg                       # a table
    jaxcls predict runs/mine pictures/ --out answers.csv     # every picture of a folder, at any depth
    jaxcls predict runs/mine 'scans/**/*.png' --format jsonl --top 3 --heatmaps maps
    find /archive -name '*.jpg' | jaxcls predict runs/mine - --out answers.jsonl
    jaxcls predict runs/mine table/test.csv --out answers.csv    # the pictures of a table, in its order, labels or not
    jaxcls predict mine.onnx pictures/                       # a file of jaxcls export, by ONNX Runtime and without JAX
    jaxcls predict mine.int8.tflite pictures/                # by LiteRT, without JAX and TensorFlow
    jaxcls predict mine.onnx pictures/ --shard 2/8 --out 2.csv --resume    # one of 8 machines; goes on after a crash

RUN is a run's workdir (its best checkpoint, the newest where none is best; --step for another) or the folder of one
step; nothing else is needed, the training data neither. Pictures are treated as in the run's evaluation, so a test
picture gets the logits that the evaluation stored. Probabilities are calibrated, and the class is what stored
thresholds or costs decide, where jaxcls calibrate has left them. docs/predicting.md has the formats.

Of a k-fold run (jaxcls train --folds) the probabilities of its folds are averaged.

RUN may be a file, MODEL.onnx or MODEL.tflite. One that jaxcls export has written knows all that itself; of one from
elsewhere --classes, --mean, --std and --eval-transform tell what it does not say.

Of a run with several labels a picture each row names all classes that reach their thresholds (0.5 where none is
stored), which may be none: `labels` and `probabilities`, in a CSV with | between.

Rows come in the order of the input. --out is replaced at the start and then written batch by batch in whole lines:
what is there after Ctrl-C is valid. A picture that cannot be read gets a row with the reason, and a line on stderr.
With --resume the file is kept, and the same command, given again, goes on behind its last whole row (.csv, .jsonl).

Exit status: 0 where something was predicted; 1 where nothing could be; 2 where an option or the run cannot be used;
130 after Ctrl-C.
"""

import argparse
from typing import TYPE_CHECKING

from jaxcls import files
from jaxcls.cli import devices, foreign
from jaxcls.cli.arguments import add_run, expanded, path, positive
from jaxcls.errors import UserError
from jaxcls.predict.sharding import Shard

if TYPE_CHECKING:
    from jaxcls.predict.progress import Interruption

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}  # by the suffix of --out


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser)
    text = "files, folders, patterns, sets such as table/FILE; -: paths from stdin"
    parser.add_argument("pictures", type=expanded, metavar="PICTURE", nargs="+", help=text)
    parser.add_argument("--format", choices=("table", "jsonl", "csv"), help="default: by the name of --out, else table")
    parser.add_argument("--out", metavar="FILE", type=path, help="instead of the standard output")
    text = "how many classes, or all: in a CSV a column p_CLASS of each (default %(default)s)"
    parser.add_argument("--top", type=top, default=5, metavar="K", help=text)
    parser.add_argument("--heatmaps", metavar="DIR", type=path, help="PNGs that show what each answer rests on")
    parser.add_argument("--batch", type=positive, default=32, metavar="N", help="pictures at a time (%(default)s)")
    parser.add_argument("--threads", type=positive, metavar="N", help="that read pictures (default: one a core)")
    text = "the I-th of N parts, for N machines: which one a picture is in, its path says"
    parser.add_argument("--shard", type=Shard.parse, metavar="I/N", help=text)
    text = "keep what --out holds of the same command, and go on behind it"
    parser.add_argument("--resume", action="store_true", help=text)
    foreign.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Predicts."""
    from jaxcls.predict import named
    from jaxcls.predict.progress import Interruption
    from jaxcls.runtime.session import is_file

    check(args)
    args.pictures = named.opened(args.pictures)
    with Interruption() as interruption:
        if is_file(args.run):
            return of_file(args, interruption)
        foreign.refuse(args)
        devices.set_up()
        import jax

        from jaxcls.predict import answering, folds
        from jaxcls.predict.heatmaps import Heatmaps

        predictor = folds.load(args.run, args.step, sizes=(1, min(8, args.batch), args.batch))
        heatmaps = Heatmaps(args.heatmaps, predictor, interruption) if args.heatmaps else None
        options = _options(args, lambda: jax.tree.leaves(predictor.variables))
        return answering.run(predictor, args.pictures, options, interruption, heatmaps)


def top(text: str) -> int:
    """How many classes are listed; 0 for "all"."""
    return 0 if text == "all" else positive(text)


def check(args: argparse.Namespace) -> None:
    """Raises UserError where --resume can't be."""
    if not args.resume:
        return
    if args.out is None:
        raise UserError("--resume needs --out FILE.")
    if _format(args) == "table":
        raise UserError("--resume: rows of a table can't be read back; give --format csv or jsonl.")
    if args.out.exists() and not args.out.is_file():
        raise UserError(f"--resume: --out {args.out} is no file; choose another.")


def of_file(args: argparse.Namespace, interruption: "Interruption") -> int:
    """`jaxcls predict MODEL.onnx` or MODEL.tflite, without JAX. Raises UserError for options that a file can't take."""
    if args.step is not None:
        raise UserError(f"--step: {args.run} is a file, and a file is of one step; leave it out, or give the run.")
    from jaxcls.predict import answering
    from jaxcls.predict.heatmaps import Heatmaps
    from jaxcls.runtime.predictor import FilePredictor

    predictor = FilePredictor.load(args.run, foreign=foreign.given(args), batch=args.batch)
    heatmaps = Heatmaps(args.heatmaps, predictor, interruption) if args.heatmaps else None
    options = _options(args, lambda: _content(args.run))
    return answering.run(predictor, args.pictures, options, interruption, heatmaps)


def _content(path):
    with files.open_regular(path, None) as file:
        yield from iter(lambda: file.read(2**20), b"")


def _format(args):
    return args.format or FORMATS.get(args.out.suffix.lower() if args.out else "", "table")


def _options(args, weights):
    """`weights()`: bytes or arrays, by which two states of a model are told apart."""
    from jaxcls.predict.answering import Options
    from jaxcls.predict.resuming import digest

    resume = None
    if args.resume:
        told = {name: getattr(args, name) for name in ("heatmaps", "classes", *foreign.NAMES)}
        resume = {"weights": digest(weights()), **told}
    return Options(
        form=_format(args), out=args.out, top=args.top, batch=args.batch, threads=args.threads, shard=args.shard,
        resume=resume,
    )  # fmt: skip
