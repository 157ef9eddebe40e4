"""Shows what a checkpoint holds, compares two, and verifies files: `jaxcls inspect`, for a checkout.

python scripts/inspect_checkpoint.py runs/cifar10
python scripts/inspect_checkpoint.py --help
"""

import sys

from jaxcls.cli.command import main

if __name__ == "__main__":
    sys.exit(main(["inspect", *sys.argv[1:]]))
