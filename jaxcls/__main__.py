"""`python -m jaxcls VERB ...`, the same as `jaxcls VERB ...`."""

import sys

from jaxcls.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
