"""The command `unionfs`: arguments in, an exit status out, and at most one line on standard error.

Arguments have the form that mount(8), fstab(5), podman and buildah use, which no parser library has: words
of options after any -o, before or after the names, of which the last one is the mount point.
"""

from __future__ import annotations

import os
import sys

from unionfs.annotations import TYPE_CHECKING
from unionfs.errors import SetupError
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from unionfs.serve import Job

USAGE = """\
usage: unionfs [-f] [-d] -o lowerdir=A:B[:…][,upperdir=U,workdir=W][,OPTION…] [SOURCE] MOUNTPOINT
       unionfs index FILE.tar        build or check the index of a tar layer
       unionfs refresh MOUNTPOINT    show what was changed in the layers behind the mount
       unionfs --version | --help

Mounts the layers A, B, … (directories or uncompressed .tar files, topmost first) as one tree. Changes go to
the upper directory; without one the mount is read-only. Returns when the mount answers.

  -f          stay in the foreground; log to standard error
  -d          the same, and log more
  -o OPTION   lowerdir= upperdir= workdir=    paths; a backslash takes the next of , : \\ as it is
              ro dev nosuid noexec noatime …  as for mount(8); nodev is the default
              allow_other                     other users may enter (default for root)
              volatile                        never wait for the disk: a crash may cost the upper directory
              top=fuse|overlay                who takes the changes: this program, or the kernel's overlayfs on top
                                              of it (faster writes; for those who may mount: root, unshare -rm)
              uidmapping=D:V:N gidmapping=    owner D on disk is V in the mount, and the next N-1
              squash_to_root squash_to_uid= squash_to_gid=   show all files as owned by one user
              xattr_permissions=2             keep owners and modes in user.containers.override_stat
              wh_files=off                    files called .wh.NAME in directory layers are files, not whiteouts
              userxattr noxattrs noacl metacopy=on|off|BYTES context= private fsname= subtype=
              driver=kernel|pyfuse3 io=auto|cached|passthrough timeout=SECONDS writeback=on|off
              poll=MICROSECONDS readahead=BYTES max_read=BYTES log=FILE
              awake=on|off   processors stay awake while there are many requests; default in small virtual machines
              zero_open=off negative=off readdirplus=off threads=off   to measure what each brings

Signals to the server: SIGUSR1 logs its counters, SIGTERM unmounts.

examples:
  unionfs -o lowerdir=app:debian.tar,upperdir=diff,workdir=work /mnt
  unionfs -o lowerdir=debian.tar /mnt                 (read-only)
  mount -t fuse.unionfs -o lowerdir=/srv/a:/srv/b unionfs /mnt
  umount /mnt                                         (or, for users: fusermount3 -u /mnt)"""


class Arguments(NamedTuple):
    """A command line for a mount. `control` is the socket of the program that made the process (api.py)."""

    words: tuple[str, ...] = ()  # of the options, one item each -o
    names: tuple[str, ...] = ()  # source, mount point
    foreground: bool = False
    control: int = -1


def main(argv: list[str] | None = None) -> int:
    """Runs a command line (without the program's name); gives the exit status."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except SetupError as e:
        return _fail(str(e))
    except OSError as e:
        return _fail(f"{e.filename}: {e.strerror}" if e.filename else str(e.strerror or e))
    except KeyboardInterrupt:
        return 130
    except Exception as e:
        if "-d" in sys.argv:
            raise
        return _fail(f"internal error: {type(e).__name__}: {e} (with -d it comes with a traceback)")


def run(argv: list[str]) -> int:
    """`main`, with its errors raised."""
    if not argv:
        raise SetupError("nothing to do", hint="see: unionfs --help")
    if {"-h", "--help"} & set(argv):
        print(USAGE)
    elif {"-V", "--version"} & set(argv):
        from unionfs import __version__

        print(f"unionfs {__version__}")
    elif argv[0] in _COMMANDS and not any(word.startswith("-o") for word in argv):
        _COMMANDS[argv[0]](_only(argv))
    else:
        arguments = parse_arguments(argv)
        return _remount(arguments) if _asks_remount(arguments) else _mount(arguments)
    return 0


def parse_arguments(argv: list[str]) -> Arguments:
    """Sorts a command line; -o may be written together with its words. Raises SetupError."""
    arguments, rest = Arguments(), list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return arguments._replace(names=(*arguments.names, *rest))
        if word in ("-o", "--control") and not rest:
            raise SetupError(f"{word} needs a value", hint="see: unionfs --help")
        if word == "--control" and rest[0].isdecimal():
            arguments = arguments._replace(control=int(rest.pop(0)))
        elif word.startswith("-o"):
            arguments = arguments._replace(words=(*arguments.words, word[2:] or rest.pop(0)))
        elif word in _FLAGS:
            extra, foreground = _FLAGS[word]
            words = (*arguments.words, extra)
            arguments = arguments._replace(words=words, foreground=arguments.foreground or foreground)
        elif word.startswith("-") and word != "-":
            raise SetupError(f"unknown flag {word}", hint="see: unionfs --help")
        else:
            arguments = arguments._replace(names=(*arguments.names, word))
    return arguments


_FLAGS = {  # what each adds to the options, and whether the server stays
    "-f": ("", True),
    "-d": ("debug", True),
    "--debug": ("debug", True),
    "-r": ("ro", False),
    "-w": ("rw", False),
    "-s": ("", False),  # libfuse: one thread, which it is
    "-n": ("", False),  # mount(8): no mtab, which nobody has any more
    "-v": ("", False),
}


def _mount(arguments: Arguments) -> int:
    from unionfs import daemon, journal, serve

    if arguments.control >= 0:
        return daemon.serve_child(lambda: _job(arguments), arguments.control)
    job = _job(arguments)
    if job.options.unknown:
        print(f"unionfs: ignored unknown options: {', '.join(job.options.unknown)}", file=sys.stderr)
    if not arguments.foreground:
        daemon.start(job)
        return 0
    journal.set_up(job.options.log, foreground=True, debug=job.options.debug)
    serve.serve(job)
    sys.stderr.flush()
    os._exit(0)  # the kernel frees a million nodes at once, which the interpreter would do one by one


def _job(arguments: Arguments) -> Job:
    from unionfs import options, serve, stack

    source, target = _names(arguments.names)
    parsed = options.parse(arguments.words)
    if parsed.log:
        parsed = parsed._replace(log=os.path.abspath(parsed.log))
    return serve.Job(parsed, stack.resolve(parsed, target), source)


def _remount(arguments: Arguments) -> int:
    from unionfs import mountpoint, options

    _, target = _names(arguments.names)
    parsed = options.parse(arguments.words)
    mountpoint.remount(os.path.realpath(target), parsed.flags)
    return 0


def _asks_remount(arguments: Arguments) -> bool:
    """mount(8) runs the program again, with all the options of the mount and no layers."""
    from unionfs.options import split

    return any("remount" in split(words, ",") for words in arguments.words)


def _names(names: tuple[str, ...]) -> tuple[str, str]:
    match names:
        case (target,):
            return "", target
        case (source, target):
            return source, target
        case ():
            raise SetupError("the mount point is missing", hint="see: unionfs --help")
    raise SetupError(f"too many names: {' '.join(names)}", hint="one source at most, then the mount point")


def _only(argv: list[str]) -> str:
    command, *names = argv
    if len(names) != 1:
        raise SetupError(f"{command} takes one name", hint="see: unionfs --help")
    return names[0]


def _refresh(target: str) -> None:
    from unionfs.control import ask

    _say(f"{target}: {ask(target, 'refresh')['dropped']} cached names and inodes dropped")


def _index(path: str) -> None:
    from unionfs.layers.tarball import check_index

    found = check_index(path)
    if found.warning:
        raise SetupError(f"{path}: the index is not saved: {found.warning}")
    done = f"index built, for {found.rebuilt}" if found.rebuilt else "index sound"
    _say(f"{path}: {found.entries} entries, {done}")


_COMMANDS = {"index": _index, "refresh": _refresh}


def _say(text: str) -> None:
    """Prints a line with names in it, which need not be valid in any encoding."""
    sys.stdout.buffer.write(os.fsencode(text) + b"\n")


def _fail(text: str) -> int:
    print("unionfs: " + text.replace("\n", " "), file=sys.stderr)
    return 1
