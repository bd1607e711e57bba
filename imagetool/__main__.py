"""`python -m imagetool` is the command `imagetool`."""

import sys

from imagetool.cli import main

if __name__ == "__main__":
    sys.exit(main())
