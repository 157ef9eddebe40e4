"""Averages weights of checkpoints of one run, or of several runs: `jaxcls average`, for a checkout.

python scripts/average_checkpoints.py RUN --last 5 --out runs/average
python scripts/average_checkpoints.py --help
"""

import sys

from jaxcls.cli.command import main

if __name__ == "__main__":
    sys.exit(main(["average", *sys.argv[1:]]))
