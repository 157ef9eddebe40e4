"""Writes the weights of a run as a state dict for PyTorch: `jaxcls export`, for a checkout.

python scripts/export_weights.py runs/mine --out mine.safetensors
python scripts/export_weights.py --help
"""

import sys

from jaxcls.cli.command import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
