"""The command `imagetool`, also as `python -m imagetool`."""

import gc
import os
import sys

from imagetool import ahead

_COLLECT = 50_000
"""Objects between two looks for garbage. Imports make nothing but what stays; Python's 700 took a short command 5 of
its 80 ms."""


def main() -> int:
    gc.set_threshold(_COLLECT)
    _open_streams()
    ahead.split(sys.argv[1:])
    from imagetool import late

    with late.modules():
        from imagetool.cli import main

    return main()


def _open_streams() -> None:
    """Those that the caller has closed: else the next file would get the number, and be taken for one of them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


if __name__ == "__main__":
    if not sys.flags.safe_path and sys.path[0] == os.getcwd():  # where `-m` looks first: it may be anybody's
        del sys.path[0]
    sys.exit(main())
