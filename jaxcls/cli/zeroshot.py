"""Makes a classifier of the names of its classes: weights that know pictures and texts, and no training.

    jaxcls zeroshot CLIP.safetensors --data pictures --vocab bpe_simple_vocab_16e6.txt.gz --out runs/zeroshot
    jaxcls zeroshot CLIP.safetensors --data pictures --vocab VOCAB --out runs/pets --template "a photo of a {}, a pet."
    jaxcls zeroshot SIGLIP.safetensors --data pictures --vocab sentencepiece.model --out runs/zeroshot

WEIGHTS is a file of open_clip's or of Hugging Face's CLIP or SigLIP with both towers, or a run that has learnt from
captions (config.words). The vocabulary of CLIP comes with
the package open_clip_torch, or as merges.txt beside the weights on Hugging Face; SigLIP's is a model of sentencepiece.
--template is a sentence with {} where the class stands, a file with one a line, or name, photo (the default), seven;
repeatable. --words is a table with the columns class and words, for folders whose names say little.

The workdir that it writes is a run at step 0: evaluate it, look at its report, calibrate, serve and export it, or train
it on (docs/words.md). --config.KEY=VALUE sets a key of its config (configs/zeroshot.py), as
--config.model.name=vit_base_patch32_clip_quickgelu_224, which OpenAI's own weights want.

Exit status: 0; 2 where weights, vocabulary or data can't be used.
"""

import argparse
from typing import TYPE_CHECKING

from jaxcls.cli import devices, run_config
from jaxcls.cli.arguments import add_data, expanded

if TYPE_CHECKING:
    from ml_collections import ConfigDict

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("weights", type=expanded, metavar="WEIGHTS", help="a file with both towers, or a run")
    add_data(parser)
    parser.add_argument("--config", metavar="FILE", help="a config (default: zeroshot; of a run: its own)")
    parser.add_argument("--vocab", type=expanded, required=True, metavar="FILE", help="of the texts' tokens")
    parser.add_argument("--out", type=expanded, required=True, metavar="DIR", help="the new workdir")
    text = "a sentence with {}, a file of such, or name, photo, seven; repeatable (default: photo)"
    parser.add_argument("--template", action="append", default=[], metavar="TEXT", help=text)
    parser.add_argument("--words", type=expanded, metavar="FILE", help="a table: class, words")


def run(args: argparse.Namespace) -> None:
    """Makes the classifier, and says what to type next."""
    from jaxcls.words import templates, tokenisers

    chosen = templates.read(args.template or ["photo"])
    tokenise = tokenisers.read(args.vocab)
    words = templates.words(args.words) if args.words else {}
    config = configured(args)
    devices.set_up()
    from jaxcls.training import zeroshot

    zeroshot.write(config, args.weights, args.out, tokenise, templates=chosen, words=words)
    print(f"written: {args.out}")
    print(f"evaluate it: jaxcls eval {args.out}; train it on: jaxcls train --workdir {args.out}")


def configured(args: argparse.Namespace) -> "ConfigDict":
    """The config of the new run. That of a run that has learnt from captions is its own, but for these."""
    from jaxcls.defaults import default_config
    from jaxcls.training import run_weights

    if args.config or not run_weights.is_run(args.weights):
        return run_config.read(args.config or "zeroshot", args.out, args.settings)[0]
    config, _ = run_config.read(None, args.weights, args.settings)
    config.words = default_config().words
    return config
