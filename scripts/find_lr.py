"""Which learning rate suits a config: trains it for some steps with a rate that rises until the loss diverges.

    python scripts/find_lr.py --config=configs/lenet5_digits.py
    python scripts/find_lr.py --config=configs/folder.py --config.data.name=folder/PATH --low 1e-6 --high 10 --steps 200

Optimiser, batch, augmentation and everything else are the config's; its schedule is not used, and no run is begun. The
suggestion, meant for config.schedule.peak, is the smaller one of two rates: where the smoothed loss falls fastest, and
a tenth of where it is lowest. It is a starting point: after a warm-up a net may bear more. What config.optim.unfreeze
releases later in a run stays frozen here.
Writes find_lr.png and find_lr.csv into --out.
Exit status: 0; 2 where the config cannot work, or the loss falls nowhere; 130 after Ctrl-C.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

from jaxcls import main as command
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.settings import config_file
from jaxcls.training import signals

ROWS = 15  # of the table that is printed


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    with signals.ending_at_once():
        return _run(parse(sys.argv[1:] if argv is None else argv))


def parse(argv):
    """The arguments; `settings` are the (key, text) pairs of `--config.key=text`. Raises UserError for such without."""
    settings, rest = command.take_settings(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="config file, as for jaxcls.main")
    parser.add_argument("--low", type=float, default=1e-5, help="first rate (default %(default)g)")
    parser.add_argument("--high", type=float, default=1.0, help="last rate (default %(default)g)")
    parser.add_argument("--steps", type=int, default=100, help="how many, at most (default %(default)s)")
    parser.add_argument("--out", default=".", metavar="DIR", help="for find_lr.png and find_lr.csv (default: here)")
    args = parser.parse_args(rest)
    args.settings = settings
    return args


def _run(args):
    from jaxcls.training import find_lr

    rates = find_lr.geometric(args.low, args.high, args.steps)
    config = config_file.load(args.config)
    config_file.override(config, args.settings)
    command.set_up_jax(command.parse([]))
    found = find_lr.range_test(config, rates, note=lambda line: print(line, flush=True))
    try:
        chosen, problem = find_lr.suggest(found), None
    except UserError as error:
        chosen, problem = None, error
    paths = write(found, chosen, Path(args.out), Path(args.config.partition(":")[0]).stem)
    print("\n".join(["", *table(found, chosen), ""]))
    print(f"written: {', '.join(map(str, paths))}")
    if problem:
        raise problem
    if not found.diverged and chosen.lowest == found.rates[-1]:
        print(f"the loss was still falling at --high {args.high:g}; raise it to see more")
    print(f"fastest fall at {chosen.steepest:.3g}, lowest loss at {chosen.lowest:.3g}; the suggestion:")
    print(f"  --config.schedule.peak={find_lr.peak(config, chosen.rate):.2g}")
    return 0


def table(found, chosen):
    """Lines of rates and losses, the suggestion's among them."""
    n = len(found.rates)
    shown = set(np.linspace(0, n - 1, min(n, ROWS)).round().astype(int))
    near = None if chosen is None else int(np.argmin(np.abs(np.log(found.rates / chosen.rate))))
    yield f"{'rate':>10}  {'loss':>9}  {'smoothed':>9}"
    for i in sorted(shown | {near} - {None}):
        mark = "  <- suggested" if i == near else ""
        yield f"{found.rates[i]:10.3g}  {found.losses[i]:9.4g}  {found.smoothed[i]:9.4g}{mark}"
    if found.diverged:
        yield "then the loss diverged"


def write(found, chosen, folder, title):
    """Writes the figure and the numbers; returns their paths. Raises UserError where they can't be written."""
    from jaxcls.training import find_lr

    picture, numbers = folder / "find_lr.png", folder / "find_lr.csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        find_lr.draw(found, chosen, f"learning-rate range test, {title}").savefig(picture, dpi=150)
        with open(numbers, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["step", "learning_rate", "loss", "smoothed"])
            columns = (found.rates, found.losses, found.smoothed)
            rows.writerows([i, *map(float, row)] for i, row in enumerate(zip(*columns, strict=True)))
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error.strerror or error}; choose another --out.") from error
    return picture, numbers


if __name__ == "__main__":
    sys.exit(main())
