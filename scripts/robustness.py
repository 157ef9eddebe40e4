"""How robust a run is: its accuracy under the 15 common corruptions of pictures at five strengths.

    python scripts/robustness.py runs/resnet18_cifar10
    python scripts/robustness.py RUN --corruptions fog jpeg_compression --strengths 1 3 5 --limit 1000
    python scripts/robustness.py RUN --baseline runs/without_augmentation   # mCE by the other run's errors
    python scripts/robustness.py RUN --baseline alexnet                     # by AlexNet's, on ImageNet

Noise (gaussian_noise, shot_noise, impulse_noise), blur (defocus_blur, glass_blur, motion_blur, zoom_blur), weather
(snow, frost, fog, brightness) and digital (contrast, elastic_transform, pixelate, jpeg_compression) of Hendrycks and
Dietterich 2019; jaxcls/corrupt says where ours differ. The whole measurement is 76 evaluations; --limit takes as many
pictures, drawn at random. Prints a table and writes robustness.json, robustness.md and robustness.png into the run's
workdir. A baseline is measured, too, unless its robustness.json is of the same pictures. --config.KEY=VALUE sets a key
of the run's config, as --config.data.dir or --config.eval.batch_size.

Exit status: 0; 2 where an option, the run or its data cannot be used.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError

ALEXNET = "alexnet"


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args, settings = parse(sys.argv[1:] if argv is None else argv)
    report(args, settings)
    return 0


def parse(argv):
    """(arguments, (path, text) pairs of `--config.path=text`)."""
    from jaxcls.main import take_settings

    settings, rest = take_settings(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("run", metavar="RUN", help="a run's workdir")
    parser.add_argument("--corruptions", nargs="+", default=[], metavar="NAME", help="default: all 15")
    parser.add_argument("--strengths", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="N", help="of 1 to 5")
    parser.add_argument("--split", default="", help="default: test, else validation")
    parser.add_argument("--limit", type=whole, default=0, metavar="N", help="pictures, drawn at random; default: all")
    parser.add_argument("--step", type=whole, help="of the checkpoint; default: the best one, else the newest")
    parser.add_argument("--seed", type=whole, default=0, help="of the noise and of --limit (default %(default)s)")
    parser.add_argument("--baseline", metavar="RUN", help="a run to compare with, or alexnet")
    return parser.parse_args(rest), settings


def report(args, settings):
    """Measures, prints and writes.

    Raises:
      UserError: from `measure.run` and `measure.compare`.
    """
    from jaxcls.corrupt import measure, page

    options = measure.Options(
        corruptions=tuple(args.corruptions), strengths=tuple(args.strengths), split=args.split, limit=args.limit,
        step=args.step, seed=args.seed,
    )  # fmt: skip
    found = measured(args.run, options, settings)
    if args.baseline == ALEXNET and not Path(ALEXNET).is_dir():
        found = measure.compare(found)
    elif args.baseline:
        other = measure.read(args.baseline, found)
        if other is None:
            other = measured(args.baseline, dataclasses.replace(options, step=None), settings)
            if measure.read(args.baseline, found) is None:
                raise UserError(f"--baseline {args.baseline}: it was trained on other pictures or other classes.")
        found = measure.compare(found, other, Path(args.baseline).resolve().name)
    measure.save(found, args.run)
    header, rows = page.rows(found)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for first, *rest in (header, *rows):
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]))
    print("\n".join(page.summary(found)))
    print("written:", *page.write(found, args.run), Path(args.run) / measure.FILE)


def measured(run, options, settings):
    """The report on a run, whose config its workdir holds."""
    from jaxcls import main as command
    from jaxcls.corrupt import measure

    args = command.parse([f"--workdir={run}"])
    args.settings = settings
    config, workdir = command.read_config(args)
    command.set_up_jax(args)
    print(f"measuring {run} ...", flush=True)
    return measure.run(config, workdir, options, note=lambda line: print(line, flush=True))


def whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
