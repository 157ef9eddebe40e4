"""How robust a run is: its accuracy under the 15 common corruptions of pictures at five strengths.

    jaxcls robustness runs/resnet18_cifar10
    jaxcls robustness RUN --corruptions fog jpeg_compression --strengths 1 3 5 --limit 1000
    jaxcls robustness RUN --baseline runs/without_augmentation   # mCE by the other run's errors
    jaxcls robustness RUN --baseline alexnet                     # by AlexNet's, on ImageNet

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
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls.cli import devices, run_config
from jaxcls.cli.arguments import add_data, add_run, count, expanded
from jaxcls.errors import UserError
from jaxcls.types import Figures

if TYPE_CHECKING:
    from jaxcls.corrupt.measure import Options

SETTINGS = True
ALEXNET = "alexnet"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_run(parser)
    add_data(parser)
    parser.add_argument("--corruptions", nargs="+", default=[], metavar="NAME", help="default: all 15")
    parser.add_argument("--strengths", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="N", help="of 1 to 5")
    parser.add_argument("--split", default="", help="default: test, else validation")
    parser.add_argument("--limit", type=count, default=0, metavar="N", help="pictures, drawn at random; default: all")
    parser.add_argument("--seed", type=count, default=0, help="of the noise and of --limit (default %(default)s)")
    parser.add_argument("--baseline", type=expanded, metavar="RUN", help="a run to compare with, or alexnet")


def run(args: argparse.Namespace) -> None:
    """Measures, prints and writes."""
    from jaxcls.corrupt import measure, page

    options = measure.Options(
        corruptions=tuple(args.corruptions),
        strengths=tuple(args.strengths),
        split=args.split,
        limit=args.limit,
        step=args.step,
        seed=args.seed,
    )
    report = measured(args.run, options, args.settings)
    if args.baseline == ALEXNET and not Path(ALEXNET).is_dir():
        report = measure.compare(report)
    elif args.baseline:
        other = measure.read(args.baseline, report)
        if other is None:
            other = measured(args.baseline, dataclasses.replace(options, step=None), args.settings)
            if measure.read(args.baseline, report) is None:
                raise UserError(f"--baseline {args.baseline}: it was trained on other pictures or other classes.")
        report = measure.compare(report, other, Path(args.baseline).resolve().name)
    measure.save(report, args.run)
    header, rows = page.rows(report)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for first, *rest in (header, *rows):
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]))
    print("\n".join(page.summary(report)))
    print("written:", *page.write(report, args.run), Path(args.run) / measure.FILE)


def measured(run: str, options: "Options", settings: run_config.Settings) -> Figures:
    """The report on a run, whose config its workdir holds."""
    config, workdir = run_config.read(None, run, settings)
    devices.set_up()
    from jaxcls.corrupt import measure

    print(f"measuring {run} ...", flush=True)
    return measure.run(config, workdir, options, note=lambda line: print(line, flush=True))
