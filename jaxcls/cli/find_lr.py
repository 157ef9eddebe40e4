"""Which learning rate suits a config: trains it for some steps with a rate that rises until the loss diverges.

    jaxcls find-lr --config=lenet5_digits
    jaxcls find-lr --config=folder --data=pictures --low 1e-6 --high 10 --steps 200

Optimiser, batch, augmentation and everything else are the config's; its schedule is not used, and no run is begun. The
suggestion, meant for config.schedule.peak, is the smaller one of two rates: where the smoothed loss falls fastest, and
a tenth of where it is lowest. It is a starting point: after a warm-up a net may bear more. What config.optim.unfreeze
releases later in a run stays frozen here.

Writes find_lr.png and find_lr.csv into --out. Exit status: 0; 2 where the config cannot work, or the loss falls
nowhere; 130 after Ctrl-C.
"""

import argparse
from pathlib import Path

from jaxcls.cli import devices, run_config
from jaxcls.cli.arguments import add_config, path
from jaxcls.errors import UserError

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_config(parser, required=True)
    parser.add_argument("--low", type=float, default=1e-5, metavar="RATE", help="the first (default %(default)g)")
    parser.add_argument("--high", type=float, default=1.0, metavar="RATE", help="the last (default %(default)g)")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="at most (default %(default)s)")
    parser.add_argument("--out", type=path, default=".", metavar="DIR", help="for figure and numbers (default: here)")


def run(args: argparse.Namespace) -> None:
    """Measures and suggests."""
    config, _ = run_config.read(args.config, None, args.settings)
    devices.set_up()
    from jaxcls.training import find_lr, find_lr_report

    rates = find_lr.geometric(args.low, args.high, args.steps)
    measured = find_lr.range_test(config, rates, note=lambda line: print(line, flush=True))
    try:
        chosen, problem = find_lr.suggest(measured), None
    except UserError as error:
        chosen, problem = None, error
    paths = find_lr_report.write(measured, chosen, args.out, Path(args.config.partition(":")[0]).stem)
    print("\n".join(["", *find_lr_report.table(measured, chosen), ""]))
    print(f"written: {', '.join(map(str, paths))}")
    if chosen is None:
        assert problem is not None
        raise problem
    if not measured.diverged and chosen.lowest == measured.rates[-1]:
        print(f"the loss was still falling at --high {args.high:g}; raise it to see more")
    print(f"fastest fall at {chosen.steepest:.3g}, lowest loss at {chosen.lowest:.3g}; the suggestion:")
    print(f"  --config.schedule.peak={find_lr.peak(config, chosen.rate):.2g}")
