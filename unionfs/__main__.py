"""`python -m unionfs`: the command line."""

import sys

from unionfs.cli import main

if __name__ == "__main__":
    sys.exit(main())
