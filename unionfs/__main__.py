"""`python -m unionfs`: the command line."""

import os
import sys

if sys.path[0] == os.getcwd():  # where `-m` looks first: it may be anybody's, and the mount point
    del sys.path[0]

from unionfs.cli import main

if __name__ == "__main__":
    sys.exit(main())
