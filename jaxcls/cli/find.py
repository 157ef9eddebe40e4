"""Finds pictures by a text, or by a picture that they should look like.

    jaxcls find runs/zeroshot "a red truck" --data pictures --vocab bpe_simple_vocab_16e6.txt.gz
    jaxcls find runs/mine photo.jpg --data pictures --out found.html

A text needs a run of `jaxcls zeroshot`, whose weights must still be where they were, and its vocabulary. A picture
needs any run: what is compared is what the last layer of its model sees. The features of the pictures are kept in
RUN/find, and found again by the names, sizes and times of the files, so the next question is answered at once. All
pictures are compared, up to millions. --out writes a page with the pictures; the table goes to the terminal.

Exit status: 0; 2 where an option, the run or the pictures can't be used.
"""

import argparse
import os
from pathlib import Path

from jaxcls.cli import devices
from jaxcls.cli.arguments import add_run, expanded, path, positive
from jaxcls.errors import UserError
from jaxcls.text import printable


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser)
    parser.add_argument("question", metavar="QUESTION", help="a text, or the file of a picture")
    text = "files, folders, patterns, sets such as table/FILE, to look among"
    add = parser.add_argument
    add("--data", dest="pictures", type=expanded, nargs="+", required=True, metavar="PICTURE", help=text)
    parser.add_argument("--top", type=positive, default=20, metavar="K", help="how many are shown (%(default)s)")
    parser.add_argument("--vocab", type=expanded, metavar="FILE", help="of the texts' tokens, as of jaxcls zeroshot")
    parser.add_argument("--out", type=path, metavar="FILE", help="a page with what was found")


def run(args: argparse.Namespace) -> None:
    """Searches, and prints the table."""
    picture = os.path.isfile(expanded(args.question))
    if not picture and not args.vocab:
        raise UserError(
            f"{args.question!r} is no file of a picture; for a text, give its vocabulary with --vocab (jaxcls zeroshot)"
        )
    devices.set_up()
    from jaxcls.predict import finding, named
    from jaxcls.predict.predictor import Predictor
    from jaxcls.tasks import networks

    predictor = Predictor.load(args.run, args.step, sizes=(1, finding.BATCH))
    networks.refuse_columns(predictor.network, "a search looks at")
    question = _picture(predictor, expanded(args.question)) if picture else _text(args)
    workdir = Path(args.run)
    bank = finding.bank(predictor, named.opened(args.pictures), workdir / "find")
    if bank.kept:
        print(f"{len(bank.names):,} pictures, known from {workdir / 'find'}")
    rows, cosines = finding.nearest(bank.features, question, args.top)
    names = [bank.names[row] for row in rows]
    for name, cosine in zip(names, cosines, strict=True):
        print(f"{cosine:6.3f}  {printable(name)}")
    if args.out:
        _page(args, predictor, names, cosines.tolist(), len(bank.names))


def _picture(predictor, name):
    from jaxcls.predict import finding, reading

    found = reading.read(predictor.prepare, name, None)
    if found.image is None:
        raise UserError(f"{name}: {found.problem}")
    return finding.unit(predictor.features(found.image[None]))[0]


def _text(args):
    from jaxcls.training import zeroshot
    from jaxcls.words import tokenisers

    return zeroshot.asked(args.run, tokenisers.read(args.vocab), [args.question])[0]


def _page(args, predictor, names, cosines, count):
    from jaxcls.predict import reading
    from jaxcls.report import found

    read = [reading.read(predictor.prepare, name, None) for name in names]
    shown = [(n, c, each.image) for n, c, each in zip(names, cosines, read, strict=True) if each.image is not None]
    about = f"The nearest {len(shown)} of {count:,} pictures, by {args.run}, as the model sees them."
    found.write(args.out, args.question, about, *map(list, zip(*shown, strict=True)))
    print(f"written: {args.out}")
