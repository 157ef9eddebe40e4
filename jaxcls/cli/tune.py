"""Searches for good values of a config's keys: trials are ordinary runs, chosen between on validation alone.

    jaxcls tune lenet5_digits --space "schedule.peak=log(1e-3,1); batch_size=pow2(16,128)" --trials 20
    jaxcls tune my_config.py --space my_space.py --budget "300 epochs" --pruner halving --workers 2
    jaxcls tune my_net.py --space "model.fields.blocks.2=choice((3,1,8,1),(7,6,8,1),skip); ..." --sampler evolution
    jaxcls tune folder --data=pictures --space "schedule.peak=log(1e-3,1)" --repeat 2 --seeds 3 --workdir=runs/search
    jaxcls tune runs/search                              # goes on with what is left: after Ctrl-C, a kill, a crash
    jaxcls tune runs/search --add 20                     # and with 20 trials more
    jaxcls tune runs/search --join --workers 4           # more workers, from this machine or another one
    jaxcls tune runs/search --list                       # the trials until now

SEARCH/trial-N is the workdir of trial N, which looks at no test picture; SEARCH/search.html shows the search, and is
written anew after each trial. With --repeat the best trials are run with several seeds in the end, and those runs alone
are evaluated on test. --config.key=value sets a key of all trials. Ctrl-C (or SIGTERM) saves the trials under way, a
second Ctrl-C ends at once. Exit status: 0, also where trials failed (they are in the table); 2 where the search cannot
work, 130 after Ctrl-C.
"""

import argparse
from pathlib import Path

from jaxcls.cli import devices
from jaxcls.cli.arguments import add_data, count, expanded, positive
from jaxcls.errors import UserError

SETTINGS = True
SAMPLERS = ("random", "grid", "qmc", "tpe", "evolution")
PRUNERS = ("none", "median", "patient", "wilcoxon", "halving", "hyperband")
# Arguments that say what a search is, so they are given once.
OF_NEW = (
    *("space", "data", "sampler", "pruner", "objective", "seed", "points", "rate_per_batch", "first_rung", "eta"),
    *("workdir", "storage"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    text = "name of a config, or a file; or the folder of a search, to go on with it"
    parser.add_argument("target", type=expanded, metavar="CONFIG_OR_SEARCH", help=text)
    parser.add_argument("--space", type=expanded, metavar="SPACE", help='"key=log(1e-3,1); ...", or a file with one')
    add_data(parser)
    parser.add_argument("--trials", type=positive, metavar="N", help="how many; default 20, or all of a grid")
    parser.add_argument("--budget", metavar="TEXT", help='in place of --trials: "300 epochs" of all trials together')
    parser.add_argument("--add", type=positive, metavar="N", help="of a search: go on with so many trials more")
    parser.add_argument("--sampler", choices=SAMPLERS, help="default tpe")
    parser.add_argument("--pruner", choices=PRUNERS, help="what ends trials early; default none")
    text = "what counts, the first one ranks: accuracy,multiply_adds; default: what chooses a run's best checkpoint"
    parser.add_argument("--objective", metavar="NAMES", help=text)
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="processes; default %(default)s")
    parser.add_argument("--seed", type=count, metavar="N", help="of the draws; default 0")
    parser.add_argument("--points", type=positive, metavar="N", help="of a grid, for each continuous key")
    parser.add_argument("--rate-per-batch", type=positive, metavar="N", help="the peak rate is for a batch of N")
    parser.add_argument("--first-rung", type=float, metavar="EPOCHS", help="of halving and hyperband; default 1")
    parser.add_argument("--eta", type=positive, metavar="N", help="the best 1/N of a rung go on; default 3")
    parser.add_argument("--repeat", type=positive, metavar="K", help="run the best K with several seeds; then test")
    parser.add_argument("--seeds", type=positive, metavar="S", help="of each of them; default 3")
    parser.add_argument("--workdir", type=expanded, metavar="DIR", help="default: runs/tune-<name of the config>")
    parser.add_argument("--storage", metavar="URL", help="a database for the study; default: a file in the folder")
    parser.add_argument("--join", action="store_true", help="more workers for a search that runs")
    parser.add_argument("--list", action="store_true", help="show the space or the trials, run nothing")
    parser.add_argument("--worker", help=argparse.SUPPRESS)  # what the command starts its workers with: INDEX/NUMBER


def run(args: argparse.Namespace) -> int | None:
    """Begins a search, goes on with one, or lists."""
    if args.worker:
        return _work(args)
    new = not (Path(args.target) / "plan.json").is_file()
    if new and (args.add or args.join or not args.space):
        like = '--space "schedule.peak=log(1e-3,1)"'
        how = "--add and --join take the folder of one" if args.space else f"to begin one, give CONFIG {like}"
        raise UserError(f"{args.target} holds no search; {how}.")
    given = [name.replace("_", "-") for name in OF_NEW if getattr(args, name) is not None]
    given += [f"config.{key}" for key, _ in args.settings]
    if given and not new:
        raise UserError(f"{args.target} is a search that was begun, and stays what it is; leave off --{given[0]}.")
    devices.cpu_only()  # this process only looks whether all is well
    folder = _begin(args) if new else args.target
    return None if args.list and new else _go_on(args, folder)


def _begin(args):
    """Checks everything, and writes what the search is; returns its folder."""
    from jaxcls.settings import config_file
    from jaxcls.tune import begin, budget, space, study

    folder = args.workdir or f"runs/tune-{Path(config_file.split(args.target)[0]).stem}"
    if args.trials and args.budget:
        raise UserError("--trials and --budget are two budgets; give one of them.")
    config = config_file.load(args.target)
    config_file.override(config, args.settings)
    varied = space.load(args.space, args.rate_per_batch or 0)
    of_plan = ("sampler", "pruner", "seed", "first_rung", "eta")
    given = {name: getattr(args, name) for name in of_plan if getattr(args, name) is not None}
    objectives = args.objective.split(",") if args.objective else []
    plan, figures = begin.plan(config, varied, folder, objectives, grid_points=args.points or 0, **given)
    trials, epochs = budget.parse(args.budget) if args.budget else (args.trials, None)
    asked = begin.budget(plan, figures, args.target, trials, epochs, args.repeat or 0, args.seeds or begin.SEEDS)
    print(begin.described(plan, asked), flush=True)
    if not args.list:
        begin.refuse_living(folder)
        study.create(folder, plan, args.storage or "")
        budget.write(folder, asked)
    return folder


def _go_on(args, folder):
    """Workers until all is done; what the search has come to."""
    from jaxcls.training.lock import Lock
    from jaxcls.training.signals import Stopped
    from jaxcls.tune import begin, choosing, processes, told, workers

    say = lambda line: print(line, flush=True)  # noqa: E731
    if args.list:
        say("\n".join(told.listed(choosing.opened(folder))))
        return None
    held, changes = Lock(folder), (args.trials, args.budget, args.add, args.repeat, args.seeds)
    if args.join and any(changes):
        raise UserError("--join adds workers to a search as it is; its budget is changed where it is gone on with.")
    if not args.join:
        begin.refuse_living(folder)
        held.take(lambda line: None)
    try:
        begin.change_budget(folder, *changes)
        status = processes.look_after(folder, args.workers, say)
    except Stopped as stopped:
        say(f"stopped; it goes on with: jaxcls tune {folder}")
        return stopped.status
    finally:
        if not args.join:
            workers.close(folder)
            held.release()
    if not status:
        say("\n".join(told.summary(folder)))
    return status


def _work(args):
    """One worker, in a process that `processes.start` has started."""
    from jaxcls.tune import processes, workers

    index, number = map(int, args.worker.split("/"))
    processes.settle_in(index, number)  # before JAX is loaded
    devices.set_up()
    workers.work(args.target, lambda line: print(line, flush=True))
