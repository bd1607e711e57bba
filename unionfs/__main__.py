"""`python -m unionfs`: the command line."""

import os
import sys

# Where `-m` looks first may be anybody's, and the mount point.
if not sys.flags.safe_path and sys.path[0] == os.getcwd():
    del sys.path[0]

from unionfs.cli import main

if __name__ == "__main__":
    sys.exit(main())
