"""Options are parsed in a child, while what the command needs is imported here: each takes half of a short command.

The child does all else itself, and then its status is this process's: help, mistakes, and a command that is not what
it seemed to be.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from unionfs.annotations import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from imagetool.calls import Call

_WORK = {"commit": "imagetool.committing"}


def split(words: Sequence[str]) -> None:
    """Carries out a command in this way, and ends the process with it; returns where that would not pay."""
    module = _WORK.get(_command(words))
    if module is None:
        return
    reader, writer = os.pipe()
    child = os.fork()  # before either has imported what only one of them needs
    if child:
        os.close(writer)
        _work(module, reader, child)
    os.close(reader)
    _parse(writer)


def _command(words: Sequence[str]) -> str:
    """What the command seems to be; "" where other options than --root come before it."""
    rest = list(words)
    if rest[:1] == ["--root"]:
        rest = rest[2:]
    if rest[:1] == ["container"]:
        rest = rest[1:]
    return rest[0] if rest else ""


def _parse(writer: int) -> NoReturn:
    import signal

    from imagetool import late
    from imagetool.calls import leave

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever interrupts this interrupts both, and one says so
    with late.modules():
        from imagetool import cli

    def hand_over(call: Call) -> None:
        with open(writer, "wb") as pipe:
            pipe.write(marshal.dumps(tuple(call)))

    leave(cli.status_of(sys.argv[1:], hand_over))


def _work(module: str, reader: int, child: int) -> NoReturn:
    from imagetool.calls import Call, leave

    try:
        import_module(module)
        with open(reader, "rb") as pipe:
            handed = pipe.read()
        if not handed:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            leave(code if code >= 0 else 128 - code)
        Call(*marshal.loads(handed)).perform()
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        from imagetool import cli

        leave(cli.failed(error))
    leave(0)
