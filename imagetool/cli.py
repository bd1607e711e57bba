"""The command line: which commands there are, options for all of them, and how errors and statuses come out.

A command is imported when it is asked for, so that `images` starts as fast as it can. Every error is one line,
`Error: what failed, on what (what to do)`; the exit status is the error's: 125 for a failure of the tool itself,
126 and 127 for a command of a container that cannot be run or is not there.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence

import click

from imagetool.calls import Call, leave
from imagetool.commands import flags
from imagetool.commands.context import FAILED, Context
from imagetool.errors import ImageToolError, UsageError
from unionfs.annotations import TYPE_CHECKING, TextIO
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

INTERRUPTED = 130  # 128 + SIGINT, as a shell says it
BROKEN_PIPE = 141  # 128 + SIGPIPE


COMPLETION = "_IMAGETOOL_COMPLETE"
"""The variable by which a shell asks for completions (click's convention)."""


class Entry(NamedTuple):
    """A command of the table. `source` is a module below `commands`, or a group's own table; without a help text
    it is another name for a command that has one."""

    source: str | Mapping[str, Entry]
    help: str = ""


IMAGE = {
    "build": Entry("build", "Build an image from a Dockerfile"),
    "diff": Entry("diff", "Show what differs between the files of two images"),
    "explore": Entry("explore", "Show what each layer adds, changes, deletes and wastes"),
    "history": Entry("history", "Show the steps that made an image"),
    "import": Entry("import_", "Make an image of the tar of a root file system"),
    "inspect": Entry("inspect", "Show all that is known of images"),
    "load": Entry("load", "Load images from an archive"),
    "ls": Entry("images", "List images"),
    "list": Entry("images"),
    "mount": Entry("mount", "Mount an image as a directory"),
    "umount": Entry("umount", "Unmount images"),
    "prune": Entry("prune", "Remove unused images"),
    "pull": Entry("pull", "Fetch images from a registry"),
    "push": Entry("push", "Send an image to a registry"),
    "rm": Entry("rmi", "Remove images"),
    "remove": Entry("rmi"),
    "save": Entry("save", "Write images into an archive"),
    "tag": Entry("tag", "Give an image another name"),
    "unpack": Entry("unpack", "Write an image's files into a directory"),
    "untag": Entry("untag", "Take names off images"),
}
BUILDER = {
    "build": IMAGE["build"],
    "prune": Entry("builder_prune", "Remove what builds have kept for the next ones"),
}
SYSTEM = {
    "check": Entry("check", "Verify the store, and repair it"),
    "df": Entry("df", "Show what takes space"),
    "info": Entry("info", "Show where everything is and what is possible here"),
    "prune": Entry("system_prune", "Remove what is not used"),
}
CONTAINER = {
    "attach": Entry("attach", "Show a running container's output, and type to it"),
    "commit": Entry("commit", "Make an image of a container's changes"),
    "create": Entry("create", "Make a container, to be started later"),
    "cp": Entry("cp", "Copy files to and from a container"),
    "diff": Entry("diff_container", "Show what a container has changed in its files"),
    "exec": Entry("exec", "Run another command in a running container"),
    "export": Entry("export", "Write the files of a container, or an image, as one tar"),
    "inspect": Entry("inspect_container", "Show all that is known of containers"),
    "kill": Entry("kill", "Send a signal to containers"),
    "logs": Entry("logs", "Show what a container has printed"),
    "ls": Entry("ps", "List containers"),
    "list": Entry("ps"),
    "ps": Entry("ps"),
    "pause": Entry("pause", "Let no process of containers go on"),
    "port": Entry("port", "Show the published ports of a container"),
    "prune": Entry("prune_containers", "Remove containers that do not run"),
    "rename": Entry("rename", "Give a container another name"),
    "restart": Entry("restart", "Stop containers that run, and start them"),
    "rm": Entry("rm", "Remove containers"),
    "remove": Entry("rm"),
    "run": Entry("run", "Run a command in a new container"),
    "start": Entry("start", "Start containers"),
    "stats": Entry("stats", "Show what running containers use"),
    "stop": Entry("stop", "Stop containers"),
    "top": Entry("top", "Show the processes of a container"),
    "unpause": Entry("unpause", "Let the processes of paused containers go on"),
    "update": Entry("update", "Change limits and the restart policy of containers"),
    "wait": Entry("wait", "Wait for containers to end"),
}
VOLUME = {
    "create": Entry("volume_create", "Make a volume"),
    "inspect": Entry("volume_inspect", "Show all that is known of volumes"),
    "ls": Entry("volume_ls", "List volumes"),
    "list": Entry("volume_ls"),
    "prune": Entry("volume_prune", "Remove volumes that no container has"),
    "rm": Entry("volume_rm", "Remove volumes"),
    "remove": Entry("volume_rm"),
}
COMMANDS = {
    "attach": CONTAINER["attach"],
    "build": IMAGE["build"],
    "builder": Entry(BUILDER, "Manage what builds keep"),
    "commit": CONTAINER["commit"],
    "container": Entry(CONTAINER, "Manage containers"),
    "create": CONTAINER["create"],
    "kill": CONTAINER["kill"],
    "logs": CONTAINER["logs"],
    "pause": CONTAINER["pause"],
    "port": CONTAINER["port"],
    "ps": CONTAINER["ls"],
    "rename": CONTAINER["rename"],
    "restart": CONTAINER["restart"],
    "rm": CONTAINER["rm"],
    "run": CONTAINER["run"],
    "start": CONTAINER["start"],
    "stats": CONTAINER["stats"],
    "stop": CONTAINER["stop"],
    "top": CONTAINER["top"],
    "unpause": CONTAINER["unpause"],
    "update": CONTAINER["update"],
    "wait": CONTAINER["wait"],
    "completion": Entry("completion", "Print what makes a shell complete commands and names"),
    "copy": Entry("copy", "Copy an image between registries, archives, directories and the store"),
    "cp": CONTAINER["cp"],
    "diff": CONTAINER["diff"],
    "exec": CONTAINER["exec"],
    "export": CONTAINER["export"],
    "history": IMAGE["history"],
    "image": Entry(IMAGE, "Manage images"),
    "images": IMAGE["ls"],
    "import": IMAGE["import"],
    "info": SYSTEM["info"],
    "inspect": Entry("inspect_any", "Show all that is known of containers and images"),
    "load": IMAGE["load"],
    "login": Entry("login", "Log in to a registry"),
    "logout": Entry("logout", "Forget the login to a registry"),
    "mount": IMAGE["mount"],
    "mounts": Entry("mounts", "List mounted images"),
    "pull": IMAGE["pull"],
    "push": IMAGE["push"],
    "rmi": IMAGE["rm"],
    "save": IMAGE["save"],
    "search": Entry("search", "Search a registry for images"),
    "system": Entry(SYSTEM, "Look after the store"),
    "tag": IMAGE["tag"],
    "umount": IMAGE["umount"],
    "unmount": Entry("umount"),
    "unpack": IMAGE["unpack"],
    "untag": IMAGE["untag"],
    "version": Entry("version", "Show the version"),
    "volume": Entry(VOLUME, "Manage volumes"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported one at a time; `--help` imports none."""

    def __init__(self, table: Mapping[str, Entry], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for name, entry in self._table.items() if entry.help)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        if not isinstance(entry.source, str):
            return LazyGroup(entry.source, name=cmd_name, help=entry.help + ".", no_args_is_help=True)
        from importlib import import_module

        command = import_module(f"imagetool.commands.{entry.source}").command
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands, with what `--help` says of them, and options; nothing is imported for it."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=self._table[name].help) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._table[name].help) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self._table and not args[0].startswith("-"):
            raise UsageError(f"unknown command {args[0]!r}", hint=self._suggestion(args[0], ctx))
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not isinstance(command, click.Group):
            interspersed = command.context_settings.get("allow_interspersed_args", True)
            rest = flags.plain(command, rest, interspersed=interspersed)
        return name, command, rest

    def _suggestion(self, wanted: str, ctx: click.Context) -> str:
        import difflib

        groups = [
            name
            for name, entry in self._table.items()
            if wanted in entry.source and not isinstance(entry.source, str)
        ]
        if groups:
            return f"did you mean {groups[0]} {wanted}?"
        close = difflib.get_close_matches(wanted, self._table, n=1, cutoff=0.5)
        return f"did you mean {close[0]}?" if close else f"see: {ctx.command_path} --help"


def _start(root: str | None, log_level: str | None, quiet: bool) -> None:
    context = click.get_current_context()
    level = "error" if quiet and log_level is None else log_level
    if level is not None:
        import logging

        logging.basicConfig(level=_LEVELS[level], format="%(levelname)s %(name)s: %(message)s")
    context.obj = Context(root, quiet=quiet, debug=log_level == "debug")


_LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR", "fatal": "CRITICAL"}

_HELP = """Container images and containers without a daemon: pull, run, build, look, mount, move, push.

\b
  imagetool run --rm -it debian:12 bash
  imagetool build -t app .
  imagetool mount debian:12          prints the directory
  imagetool image explore debian:12
"""


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from imagetool import __version__

        click.echo(f"imagetool version {__version__}")
        context.exit()


program = LazyGroup(
    COMMANDS,
    name="imagetool",
    help=_HELP,
    callback=_start,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        click.Option(
            ["--root"],
            metavar="DIR",
            type=click.Path(),
            envvar="IMAGETOOL_ROOT",
            help="Where images are kept (IMAGETOOL_ROOT); else /var/lib/imagetool or the XDG data home.",
        ),
        click.Option(["-l", "--log-level"], type=click.Choice(list(_LEVELS)), help="What to log; warn."),
        click.Option(["--quiet"], is_flag=True, help="Show results only: no progress, no notes."),
        click.Option(
            ["-v", "--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version,
            help="Print the version.",
        ),
    ],
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (without the program's name); gives the exit status. The program's own ends with it."""
    status = status_of(sys.argv[1:] if argv is None else argv)
    if argv is None:
        leave(status)
    return status


def status_of(argv: Sequence[str], perform: Callable[[Call], None] = Call.perform) -> int:
    """The exit status of a command line. What it comes to, if that is a call, is for `perform`."""
    _set_up(sys.stdout, sys.stderr)
    try:
        status = program.main(args=list(argv), prog_name="imagetool", standalone_mode=False)
        if isinstance(status, Call):
            perform(status)
        sys.stdout.flush()
    except SystemExit:  # click's, after a completion; else its only reason is a pipe that nobody reads
        if COMPLETION in os.environ:
            raise
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:
        return _failed(_cause(error), debug=_wants_traceback(argv))
    return status if isinstance(status, int) else 0


def failed(error: BaseException) -> int:
    """Says what went wrong where a call was performed by somebody else; gives the exit status."""
    _set_up(sys.stderr)
    return _failed(_cause(error), debug=False)


def _set_up(*streams: TextIO) -> None:
    codecs.register_error("as it is", _as_it_is)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="as it is")


def _as_it_is(error: UnicodeError) -> tuple[bytes, int]:
    """How what is no text goes out: bytes of a file's name as they are, half a surrogate pair as Go shows it."""
    assert isinstance(error, UnicodeEncodeError)
    pieces = error.object[error.start : error.end]
    return b"".join(
        bytes([ord(each) - 0xDC00])
        if "\udc80" <= each <= "\udcff"
        else each.encode("utf-8", "ignore") or b"\xef\xbf\xbd"
        for each in pieces
    ), error.end


def _cause(error: BaseException) -> BaseException:
    """The first of the errors that tasks raised together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _wants_traceback(argv: Sequence[str]) -> bool:
    return "debug" in argv or "--log-level=debug" in argv


def _failed(error: BaseException, *, debug: bool) -> int:
    """Says what went wrong, in one line; gives the exit status."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            return FAILED
        case click.UsageError():
            return _say(_usage(error))
        case click.Abort() | KeyboardInterrupt():
            click.echo("", err=True)
            return INTERRUPTED
        case BrokenPipeError():
            _drop_output()
            return BROKEN_PIPE
        case click.ClickException():
            return _say(error.format_message())
        case ImageToolError():
            return _say(str(error), error.exit_code)
        case OSError() if error.strerror:
            _drop_output()
            return _say(
                f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
            )
    if type(error).__module__.startswith("unionfs."):
        return _say(str(error))
    if debug:
        import traceback

        traceback.print_exception(error)
    return _say(f"internal error: {type(error).__name__}: {error} (--log-level debug shows where)")


def _drop_output() -> None:
    """What cannot be written now would be tried again at the exit, with another status."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _usage(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "imagetool"
    return f"{error.format_message().rstrip('.')} (see: {path} --help)"


def _say(text: str, status: int = FAILED) -> int:
    click.echo("Error: " + " ".join(text.splitlines()), err=True)
    return status
