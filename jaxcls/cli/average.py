"""Averages weights: of checkpoints of one run, or of several runs (a model soup).

    jaxcls average RUN --last 5 --out runs/average
    jaxcls average RUN --steps 2000,3000,4000 --out runs/average
    jaxcls average RUN1 RUN2 RUN3 --out runs/soup             # all of them: a uniform soup
    jaxcls average RUN1 RUN2 RUN3 --out runs/soup --greedy
    jaxcls average BEFORE AFTER --alpha 0.5 --out runs/wise   # so far from the first to the second (WiSE-FT)

The runs must be of one architecture and know the same classes; each gives its best checkpoint, the newest where none is
best. A run keeps as many of its newest checkpoints as config.checkpoint.keep says. Soups are for runs that were
fine-tuned from the same weights: the mean of nets trained from different random weights is no net. --greedy (Wortsman
et al. 2022) goes through them in the order of their accuracy on validation and keeps what makes the mean no worse.
--alpha is for a run and what it was fine-tuned to: 0 is the first, 1 the second, and what lies between often keeps what
the first was right about elsewhere (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
BatchNorm's statistics are taken anew, from training pictures augmented as in training.

The average lies in a workdir of its own, with the first run's config, for jaxcls eval and all other verbs; soup.json
says what went into it. --config.KEY=VALUE sets a key of the first run's config, as --config.data.dir.

Exit status: 0; 2 where an option or a checkpoint cannot be used, or the checkpoints do not fit together.
"""

import argparse

from jaxcls.cli import devices, run_config
from jaxcls.cli.arguments import add_data, count, expanded, positive
from jaxcls.errors import UserError

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("runs", type=expanded, nargs="+", metavar="RUN", help="workdirs, or folders of single steps")
    parser.add_argument("--out", type=expanded, required=True, metavar="DIR", help="the new workdir")
    add_data(parser)
    parser.add_argument("--last", type=positive, default=0, metavar="N", help="the newest N checkpoints of one run")
    parser.add_argument("--steps", type=steps, default=(), metavar="A,B,..", help="these of its steps")
    parser.add_argument("--greedy", action="store_true", help="keep what is good for validation")
    text = "of two: 1 - A parts of the first and A of the second (WiSE-FT)"
    parser.add_argument("--alpha", type=share, metavar="A", help=text)
    text = "for BatchNorm's statistics, at most an epoch (default %(default)s)"
    parser.add_argument("--pictures", type=positive, default=5000, metavar="N", help=text)


def steps(text: str) -> tuple[int, ...]:
    """Numbers of steps with commas between them."""
    return tuple(count(part.strip()) for part in text.split(","))


def share(text: str) -> float:
    """A number from 0 to 1. Raises argparse.ArgumentTypeError for another."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return value


def run(args: argparse.Namespace) -> None:
    """Averages, writes, and says what to type next."""
    if args.last and args.steps:
        raise UserError("--last and --steps exclude each other.")
    from jaxcls.checkpoints import members
    from jaxcls.training import averaging

    averaging.check_out(args.out)
    checkpoints = members.choose(args.runs, last=args.last, steps=args.steps)
    if args.alpha is not None and (args.greedy or len(checkpoints) != 2):
        raise UserError("--alpha is of two checkpoints, the first and the second: give two runs, or --steps A,B.")
    config, _ = run_config.read(None, str(checkpoints[0].workdir), args.settings)
    devices.set_up()
    print(f"averaging {len(checkpoints)} checkpoints, opening {config.data.name} ...", flush=True)
    averager = averaging.Averager(config, checkpoints, args.pictures, note=lambda line: print(line, flush=True))
    try:
        if args.greedy:
            state, report = averaging.greedy(averager, checkpoints)
        else:
            state, report = averaging.uniform(averager, checkpoints, args.alpha)
    finally:
        averager.close()
    averaging.write(args.out, averager, state, report, checkpoints[0].meta)
    for each in checkpoints:
        measured = averager.shown(each.meta.metrics, "validation_")
        print(f"{'in it' if each.title in report['kept'] else 'left out'}: {each.title}{measured}")
    if "validation" in report:
        print(f"average of {len(report['kept'])}{averager.shown(report['validation']).replace(', ', ': ', 1)}")
    print(f"written: {args.out}; evaluate it: jaxcls eval {args.out}")
