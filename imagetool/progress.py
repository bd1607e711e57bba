"""What a pull or push shows: a bar for each layer on a terminal, Docker's lines everywhere else.

rich draws the bars; it is imported for a terminal only (50 ms). A layer is known by its short ID.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from types import TracebackType

from unionfs.annotations import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

MOVING = frozenset({"Downloading", "Pushing"})
"""States that last, and have a bar; in a pipe they are not worth a line."""


class Progress(AbstractContextManager["Progress"]):
    """Shows nothing: what `--quiet` and the Python API use. The others do it differently."""

    def line(self, text: str) -> None:
        """A whole line, above the layers."""

    def state(self, layer: str, text: str, total: int = 0) -> None:
        """What is done with a layer now; `total` bytes for a state that moves."""

    def advance(self, layer: str, count: int) -> None:
        """`count` more bytes of a moving layer; fewer than 0 when some have to come again."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Lines(Progress):
    """A line for each state, as Docker writes into a pipe."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def state(self, layer: str, text: str, total: int = 0) -> None:
        if text not in MOVING:
            self.line(f"{layer}: {text}")


class Bars(Progress):
    """A row for each layer that is redrawn in place; a line of text ends the rows before it."""

    # INVARIANT: `_tasks` has every layer of the rows that are drawn now; while there are none, nothing is drawn

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._rich = _rich_progress(stream)
        self._tasks: dict[str, TaskID] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rich.stop()

    def line(self, text: str) -> None:
        if self._tasks:
            self._rich.stop()
            self._rich = _rich_progress(self._stream)
            self._tasks = {}
        self._rich.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def state(self, layer: str, text: str, total: int = 0) -> None:
        if not self._tasks:
            self._rich.start()
        if layer not in self._tasks:
            self._tasks[layer] = self._rich.add_task("", total=None)
        moving = text in MOVING
        self._rich.update(
            self._tasks[layer],
            description=f"{layer}: {text}",
            total=total or None,
            completed=0,
            moving=moving and total > 0,
            refresh=not moving,
        )

    def advance(self, layer: str, count: int) -> None:
        self._rich.advance(self._tasks[layer], count)


def show(stream: IO[str], *, quiet: bool = False) -> Progress:
    """The right one for a stream. To be entered before it is used."""
    if quiet:
        return Progress()
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Bars(stream)
    return Lines(stream)


def _rich_progress(stream: IO[str]) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TransferSpeedColumn as SpeedColumn
    from rich.text import Text

    class Moving(ProgressColumn):
        """A column that only rows with a bar have."""

        def __init__(self, column: ProgressColumn) -> None:
            super().__init__()
            self._column = column

        def render(self, task: Task) -> Text:
            return self._column.render(task) if task.fields.get("moving") else Text("")  # type: ignore[return-value]

    columns = (BarColumn(30, complete_style="cyan"), DownloadColumn(), SpeedColumn())
    return Progress(
        TextColumn("{task.description}", markup=False),
        *(Moving(column) for column in columns),
        console=Console(file=stream, highlight=False),
        refresh_per_second=10,
    )
