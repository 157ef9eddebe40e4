"""Writes jaxcls/models/weights.tsv, the published weights of our models, from timm's and torchvision's own tables.

    python scripts/make_weights_table.py [--results results-imagenet.csv] [--out jaxcls/models/weights.tsv]

Runs where timm and torchvision are installed; of jaxcls it takes what needs no JAX. `--results`: files that timm's
repository keeps (results/results-imagenet*.csv), for its accuracies, which the package does not have; rows keep what
the table had where none is given. Nothing is downloaded, and no weights are looked at.
"""

import argparse
import csv
import json
import math
import re
import sys
import types
from pathlib import Path

import timm
import torch
import torchvision
from timm.models import get_pretrained_cfg, split_model_name_tag

from jaxcls.cli.entry import entry_point

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "jaxcls" / "models" / "weights.tsv"
NORMALIZE = {((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)): "imagenet", ((0.5,) * 3, (0.5,) * 3): "symmetric",
             ((0.0,) * 3, (1.0,) * 3): "unit"}  # fmt: skip
SYMMETRIC = ("googlenet", "inception_v3")  # their `transform_input` makes it of what their transforms give


def architectures():
    """jaxcls.models.architectures and .published, without JAX: the package around them would import every model."""
    sys.path.insert(0, str(ROOT))
    package = types.ModuleType("jaxcls.models")
    package.__path__ = [str(ROOT / "jaxcls" / "models")]
    sys.modules["jaxcls.models"] = package
    from jaxcls.models import architectures as found
    from jaxcls.models import published

    return found, published


def normalisation(mean, std):
    """A name, or "means;stds"."""
    mean, std = tuple(map(float, mean)), tuple(map(float, std))
    as_text = ";".join(",".join(f"{x:g}" for x in values) for values in (mean, std))
    return NORMALIZE.get((mean, std), as_text)


def of_timm(find):
    """Rows of timm's weights, the usual ones of each net first."""
    sizes = {}
    for name in sorted(timm.list_models(pretrained=True), key=lambda x: (split_model_name_tag(x)[0], not usual(x))):
        stem, config, known = split_model_name_tag(name)[0], get_pretrained_cfg(name), find(name)
        if not known or not known.models or not config.hf_hub_id:
            continue
        if stem not in sizes:
            with torch.device("meta"):
                net = timm.create_model(stem)
            sizes[stem] = sum(x.numel() for x in (*net.parameters(), *net.buffers())) * 4 / 1e6
        size = config.input_size[-1]
        side = math.floor(size / config.crop_pct)
        yield {
            "name": name,
            "model": known.models[0],
            "fields": dict(known.fields),
            "location": config.hf_hub_id + (f"/{config.hf_hub_filename}" if config.hf_hub_filename else ""),
            "sha256": "",
            "licence": config.license or "unknown",
            "top1": "",
            "size": size,
            "resize": f"{side}x{side}" if config.crop_mode == "squash" else side,
            "filter": config.interpolation,
            "normalize": normalisation(config.mean, config.std),
            "classes": config.num_classes,
            "mb": f"{sizes[stem]:.0f}",
        }


def usual(name):
    """Whether these are the weights that timm takes for the net where no tag is given."""
    stem, tag = split_model_name_tag(name)
    return get_pretrained_cfg(stem).tag == tag


def of_torchvision(published):
    """Rows of torchvision's weights, the default ones of each net first."""
    for model in torchvision.models.list_models(module=torchvision.models):
        weights = torchvision.models.get_model_weights(model)
        if model not in published or published[model].library != "torchvision" or not len(weights):
            continue
        for member in sorted(weights, key=lambda x: x != weights.DEFAULT):
            transforms, url = member.transforms(), member.url
            if not (digest := re.search(r"-([0-9a-f]{8,64})\.pth$", url)):
                raise SystemExit(f"{url} does not tell its sum")
            yield {
                "name": f"{model}.{member.name}",
                "model": model,
                "fields": {},
                "location": url,
                "sha256": digest[1],
                "licence": "cc-by-nc-4.0" if "SWAG" in member.meta.get("license", "") else "bsd-3-clause",
                "top1": f"{member.meta['_metrics']['ImageNet-1K']['acc@1']:.2f}@{transforms.crop_size[0]}",
                "size": transforms.crop_size[0],
                "resize": transforms.resize_size[0],
                "filter": transforms.interpolation.value,
                "normalize": "symmetric" if model in SYMMETRIC else normalisation(transforms.mean, transforms.std),
                "classes": 1000,
                "mb": f"{member.meta['_file_size'] * 1.048576:.0f}",  # it is in MiB there
            }


def measured(files, table):
    """Name -> top-1 and the size it was measured at, of timm's files of results, and of a table that there is."""
    found = {}
    if table.exists():
        with open(table, newline="") as file:
            found = {row["name"]: row["top1"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    for path in files:
        with open(path, newline="") as file:
            found |= {row["model"]: f"{float(row['top1']):.2f}@{row['img_size']}" for row in csv.DictReader(file)}
    return found


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Writes the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", nargs="*", default=[], metavar="CSV", help="of timm's repository")
    parser.add_argument("--out", type=Path, default=TABLE)
    args = parser.parse_args(argv)
    (found, published), top1 = architectures(), measured(args.results, args.out)
    rows = [*of_torchvision(published.PUBLISHED), *of_timm(found.find)]
    for row in rows:
        row["top1"] = row["top1"] or top1.get(row["name"], "")
        row["fields"] = json.dumps(row["fields"]) if row["fields"] else ""
    lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
    args.out.write_text("\n".join(lines) + "\n")
    print(f"{args.out}: {len(rows)} weights of {len({row['model'] for row in rows})} models; "
          f"timm {timm.__version__}, torchvision {torchvision.__version__}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
