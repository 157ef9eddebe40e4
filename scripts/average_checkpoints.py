"""Averages weights: of checkpoints of one run, or of several runs (a model soup).

    python scripts/average_checkpoints.py RUN --last 5 --out runs/average
    python scripts/average_checkpoints.py RUN --steps 2000,3000,4000 --out runs/average
    python scripts/average_checkpoints.py RUN1 RUN2 RUN3 --out runs/soup             # all of them: a uniform soup
    python scripts/average_checkpoints.py RUN1 RUN2 RUN3 --out runs/soup --greedy

The runs must be of one architecture and know the same classes; each gives its best checkpoint, the newest where none is
best. A run keeps as many of its newest checkpoints as config.checkpoint.keep says. Soups are for runs that were
fine-tuned from the same weights: the mean of nets trained from different random weights is no net. --greedy (Wortsman
et al. 2022) goes through them in the order of their accuracy on validation and keeps what makes the mean no worse.
BatchNorm's statistics are taken anew, from training pictures augmented as in training.

The average lies in a workdir of its own, with the first run's config, for `python -m jaxcls.main --mode=eval
--workdir=OUT` and all other tools; soup.json says what went into it. --config.KEY=VALUE sets a key of the first run's
config, as --config.data.dir.

Exit status: 0; 2 where an option or a checkpoint cannot be used, or the checkpoints do not fit together.
"""

import argparse
import sys

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args, settings = parse(sys.argv[1:] if argv is None else argv)
    average(args, settings)
    return 0


def parse(argv):
    """(arguments, (path, text) pairs of `--config.path=text`)."""
    from jaxcls.main import take_settings

    settings, rest = take_settings(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="workdirs, or folders of single steps")
    parser.add_argument("--out", required=True, metavar="DIR", help="the new workdir")
    parser.add_argument("--last", type=whole, default=0, metavar="N", help="the newest N checkpoints of one run")
    parser.add_argument("--steps", type=steps, default=(), metavar="A,B,..", help="these of its steps")
    parser.add_argument("--greedy", action="store_true", help="keep what is good for validation")
    parser.add_argument(
        "--pictures",
        type=whole,
        default=5000,
        help="for BatchNorm's statistics, at most an epoch (default %(default)s)",
    )
    args = parser.parse_args(rest)
    if args.last and args.steps:
        raise UserError("--last and --steps exclude each other.")
    return args, settings


def average(args, settings):
    """Averages, writes, and says what to type next.

    Raises:
      UserError: from jaxcls.training.averaging.
    """
    from jaxcls import main as command
    from jaxcls.training import averaging

    averaging.check_out(args.out)
    ingredients = averaging.choose(args.runs, last=args.last, steps=args.steps)
    arguments = command.parse([f"--workdir={ingredients[0].workdir}"])
    arguments.settings = settings
    config, _ = command.read_config(arguments)
    command.set_up_jax(arguments)
    print(f"averaging {len(ingredients)} checkpoints, opening {config.data.name} ...", flush=True)
    averager = averaging.Averager(config, ingredients, max(args.pictures, 1), note=lambda line: print(line, flush=True))
    try:
        state, report = (averaging.greedy if args.greedy else averaging.uniform)(averager, ingredients)
    finally:
        averager.close()
    averaging.write(args.out, averager, state, report, ingredients[0].meta)
    for each in ingredients:
        accuracy = (each.meta.get("metrics") or {}).get("validation_accuracy")
        told = "" if accuracy is None else f", validation accuracy {accuracy:.2%}"
        print(f"{'in it' if each.title in report['kept'] else 'left out'}: {each.title}{told}")
    if "validation" in report:
        print(f"average of {len(report['kept'])}: validation accuracy {report['validation']['accuracy']:.2%}")
    print(f"written: {args.out}; evaluate it: python -m jaxcls.main --mode=eval --workdir={args.out}")


def whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def steps(text: str) -> tuple[int, ...]:
    return tuple(whole(part.strip()) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
