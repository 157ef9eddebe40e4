"""Trains a model, or goes on with a run that was stopped; python -m jaxcls.main does the same.

    jaxcls train --data=pictures                          # chooses a recipe, says why, and keeps it in runs/pictures
    jaxcls train --config=folder --data=pictures --workdir=runs/mine
    jaxcls train --config=resnet18_cifar10 --config.batch_size=256 --config.schedule.peak=0.2
    jaxcls train --workdir=runs/mine                      # goes on with the settings of that run
    jaxcls train --workdir=runs/mine --config.duration='40 epochs'    # makes a run longer that is at its end
    jaxcls train --from runs/mine --workdir=runs/other --config.seed=1    # another run, from the weights of one
    jaxcls train --config=folder --data=pictures --workdir=runs/five --folds 5

Any key of the config can be set, as --config.key=value; docs/configs.md lists them. CONFIG:tiny is a trial of a config
that takes seconds to minutes. Ctrl-C or SIGTERM saves the state and stops (exit status 130 or 0), as the end of
--max-time does (0); the same command goes on from there.

--from RUN begins a run of its own with RUN's config, unless --config gives another, and the weights that answer there
(averages where it has them; of its best step, or of --step). Its optimiser and its step count begin anew. With --state
it begins with the whole state of RUN's newest step (or --step), optimiser and averages included, and goes on from that
step, by the schedule of its own config.

--folds K deals the pictures into K folds, groups whole and every class about evenly, and trains K runs, one without
each, in WORKDIR/fold-1 .. fold-K; then tells mean and standard deviation. jaxcls report, calibrate, predict, serve and
export take WORKDIR as a run, whose answer is the mean of all folds (docs/running.md).
"""

import argparse
import os
from typing import TYPE_CHECKING

from jaxcls.cli import devices, run_config
from jaxcls.cli.arguments import add_allow_changed, add_config, count, expanded
from jaxcls.errors import UserError
from jaxcls.training import deadline

if TYPE_CHECKING:
    from ml_collections import ConfigDict

SETTINGS = True


def shared(parser: argparse.ArgumentParser) -> None:
    """Adds what training and its check take."""
    add_config(parser)
    parser.add_argument(
        "--workdir", metavar="DIR", help="for all that a run writes; default runs/<name of config or data>"
    )
    parser.add_argument("--max-time", metavar="TIME", help="stop after 3h, 90m, 2d: as by SIGTERM, so it can go on")
    add_allow_changed(parser)
    devices.add_processes(parser)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    shared(parser)
    text = "a run whose weights this one starts from"
    parser.add_argument("--from", dest="start", metavar="RUN", type=expanded, help=text)
    text = "with --from: of its checkpoints; default: the best, with --state the newest"
    parser.add_argument("--step", type=count, metavar="N", help=text)
    text = "with --from: begin with its whole state, optimiser included, at its step"
    parser.add_argument("--state", action="store_true", help=text)
    parser.add_argument("--folds", type=count, metavar="K", help="K runs, each with one of K folds held out")


def run(args: argparse.Namespace) -> None:
    """Trains."""
    moment = deadline.after(args.max_time)
    _check(args)
    if args.start is None and (folder := run_config.to_choose(args.config, args.workdir, args.data)):
        _of_choice(folder, args, moment)
        return
    config, workdir = chosen(args)
    from jaxcls.training import folding

    folds, how = folding.wanted(args.folds, workdir), {"allow_changed": args.allow_changed_data, "deadline": moment}
    devices.set_up(args)
    if args.state:
        from jaxcls.training import branching

        branching.run(config, workdir, _folder(args), **how)
    else:
        folding.started(config, workdir, folds, **how)


def _check(args):
    """Raises UserError for options that want another one."""
    if args.state and (args.start is None or args.folds):
        raise UserError("--state goes with --from RUN, whose state one run begins with; leave it out with --folds.")
    if args.step is not None and args.start is None:
        raise UserError("--step says which checkpoint of --from RUN is meant; a run goes on from its newest one.")


def _of_choice(workdir, args, moment):
    """Trains with a recipe that is chosen for the data."""
    from jaxcls.training import begin_chosen, folding

    how = {"folds": folding.wanted(args.folds, workdir), "allow_changed": args.allow_changed_data, "deadline": moment}
    devices.set_up(args)
    begin_chosen.run(args.settings, workdir, **how)


def chosen(args: argparse.Namespace) -> tuple["ConfigDict", str]:
    """(config, workdir) that the arguments mean.

    Raises:
      UserError: for a mistake in them.
    """
    if args.start is None:
        return run_config.read(args.config, run_config.default(args.config, args.workdir, args.data), args.settings)
    from jaxcls.defaults import default_config
    from jaxcls.settings import config_file
    from jaxcls.settings.reader import resolve

    if args.workdir is None:
        raise UserError(f"--from={args.start} begins another run: say where, --workdir=DIR.")
    folder = _folder(args)
    source = str(folder.parents[1])
    if os.path.realpath(expanded(args.workdir)) == os.path.realpath(source):
        raise UserError(f"--workdir={args.workdir} is that of --from; choose another, or leave --from out to go on.")
    if args.config:
        made = config_file.load(expanded(args.config))
    else:
        made = resolve(run_config.stored(source))
    if args.state:
        config_file.override(made, args.settings)
        return made, expanded(args.workdir)
    if not args.config:  # what was done to that run is in its weights
        made.extended, made.prune = (), default_config().prune
    config_file.override(made, [*args.settings, ("model.pretrained", str(args.start if args.step is None else folder))])
    return made, expanded(args.workdir)


def _folder(args):
    """Of the step that --from means."""
    from jaxcls.checkpoints import view

    if args.step is not None or args.state:
        return view.find_step(args.start, args.step)
    return view.best_step(args.start)
