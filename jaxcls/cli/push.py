"""Puts a run on the Hugging Face hub: weights, what they want, and a card that says how good they are.

    jaxcls push runs/mine someone/birds --dry-run       # shows the card and the files; no network
    jaxcls push runs/mine someone/birds --private
    jaxcls push runs/mine someone/birds --license mit --out card

model.safetensors has the tensors in the names of the model's library, config.json timm's form, README.md the figures
with intervals, what stands against relying on them, licence and preprocessing. A repository that is there gets one more
commit; nothing is deleted. Log in first (hf auth login, or HF_TOKEN). Exit status: 0; 2 where something is missing, or
the hub does not take it.
"""

import argparse
import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxcls.cli import devices
from jaxcls.cli.arguments import add_run, expanded
from jaxcls.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser)
    parser.add_argument("repo", metavar="ORG/NAME", help="repository of the hub; it is made where it is not there yet")
    parser.add_argument("--private", action="store_true", help="where it is made: for you and your organisation alone")
    text = "as the hub calls it, such as apache-2.0; default: that of the weights that the run started from"
    parser.add_argument("--license", default="", metavar="NAME", help=text)
    parser.add_argument("--out", type=expanded, metavar="DIR", help="keep the files there, too")
    parser.add_argument("--dry-run", action="store_true", help="show the card and the files, and send nothing")


def run(args: argparse.Namespace) -> None:
    """Writes the files, and sends them."""
    check(args.repo)
    devices.cpu_only()
    from jaxcls.export import hub_files
    from jaxcls.models import hub_upload
    from jaxcls.report import card

    if not args.dry_run:
        hub_upload.check()
    with _folder(args.out) as folder:
        hub_files.write(args.run, args.step, folder, repo=args.repo, licence=args.license)
        written = [folder / name for name in hub_files.FILES]
        text = (folder / hub_files.CARD).read_text(encoding="utf-8")
        if args.dry_run:
            print(text)
        if card.NOTHING in text:
            print("note: nothing was measured of these weights, and the card says so; jaxcls eval measures a run")
        for path in written:
            print(f"{path.name}: {path.stat().st_size:,} bytes")
        if args.dry_run:
            print(f"nothing was sent to {args.repo} (--dry-run)")
            return
        print(hub_upload.send(args.repo, written, private=args.private))


def check(repo: str) -> None:
    """Raises UserError for what is no name of a repository, by the rules of the hub."""
    part = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
    if not re.fullmatch(rf"{part}/{part}", repo) or re.search(r"--|\.\.|\.git$", repo) or len(repo) > 96:
        raise UserError(
            f"{repo[:100]!r} is no name of a repository; write ORG/NAME, such as someone/birds: letters, digits, '_', "
            "and between them single '.' and '-'; 96 at most"
        )


@contextlib.contextmanager
def _folder(out: str | None) -> Iterator[Path]:
    if out:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
