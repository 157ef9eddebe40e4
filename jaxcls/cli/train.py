"""Trains a model, or goes on with a run that was stopped; python -m jaxcls.main does the same.

    jaxcls train --data=pictures                          # chooses a recipe, says why, and keeps it in runs/pictures
    jaxcls train --config=folder --data=pictures --workdir=runs/mine
    jaxcls train --config=resnet18_cifar10 --config.batch_size=256 --config.schedule.peak=0.2
    jaxcls train --workdir=runs/mine                      # goes on with the settings of that run

Any key of the config can be set, as --config.key=value; docs/configs.md lists them. CONFIG:tiny is a trial of a config
that takes seconds to minutes. Ctrl-C or SIGTERM saves the state and stops (exit status 130 or 0), as the end of
--max-time does (0); the same command goes on from there.
"""

import argparse

from jaxcls.cli import devices, run_config
from jaxcls.cli.arguments import add_allow_changed, add_config
from jaxcls.training import deadline

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_config(parser)
    parser.add_argument("--workdir", metavar="DIR", help="for all that a run writes; default runs/<name of config or data>")
    parser.add_argument("--max-time", metavar="TIME", help="stop after 3h, 90m, 2d: as by SIGTERM, so it can go on")
    add_allow_changed(parser)
    devices.add_processes(parser)


def run(args: argparse.Namespace) -> None:
    """Trains."""
    moment = deadline.after(args.max_time)
    if folder := run_config.to_choose(args.config, args.workdir, args.data):
        _of_choice(folder, args, moment)
        return
    workdir = run_config.default(args.config, args.workdir, args.data)
    config, workdir = run_config.read(args.config, workdir, args.settings)
    devices.set_up(args)
    from jaxcls.training import loop

    loop.run(config, workdir, allow_changed=args.allow_changed_data, deadline=moment)


def _of_choice(workdir, args, moment):
    """Trains with a recipe that is chosen for the data."""
    devices.set_up(args)
    from jaxcls.training import begin_chosen

    begin_chosen.run(args.settings, workdir, allow_changed=args.allow_changed_data, deadline=moment)
