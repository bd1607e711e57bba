"""What is wrong with a Dockerfile, and where."""

from __future__ import annotations

from imagetool.errors import ImageToolError, UsageError


class StepError(ImageToolError):
    """A step that could not be carried out, or whose command failed: where it stands, and what it said."""

    def __init__(self, file: str, line: int, error: ImageToolError) -> None:
        super().__init__(f"{file}:{line}: {error.text}", hint=error.hint)
        self.exit_code = error.exit_code


class CommandFailed(ImageToolError):
    """A RUN whose command ended with another status than 0, in Docker's words; that status is the build's."""

    def __init__(self, argv: tuple[str, ...], code: int) -> None:
        super().__init__(f"The command '{' '.join(argv)}' returned a non-zero code: {code}")
        self.exit_code = code


class DockerfileError(UsageError):
    """A mistake in a Dockerfile. Shown as one line, then the source line with a caret under the mistake.

    line and column count from 1; column 0 marks the whole line, line 0 the whole file.
    """

    def __init__(
        self, text: str, *, line: int, last: int = 0, word: str = "", offset: int = 0, hint: str = ""
    ) -> None:
        """The mistake is in `word`, `offset` characters in, somewhere on the lines `line` to `last`."""
        super().__init__(text, hint=hint)
        self.line, self.column, self.source, self.file = line, 0, "", "Dockerfile"
        self._last, self._word, self._offset = max(line, last), word, offset

    def within(self, file: str, lines: list[str]) -> DockerfileError:
        """The same error, knowing the file's name and text."""
        self.file = file
        for number in range(self.line, min(self._last, len(lines)) + 1) if self._word else ():
            at = lines[number - 1].find(self._word)
            if at >= 0:
                self.line, self.column = number, at + self._offset + 1
                break
        self.source = lines[self.line - 1] if 0 < self.line <= len(lines) else ""
        return self

    def __str__(self) -> str:
        place = [self.file, *(str(number) for number in (self.line, self.column) if number)]
        first = f"{':'.join(place)}: {super().__str__()}"
        if not self.source:
            return first
        start = self.column or len(self.source) - len(self.source.lstrip()) + 1
        length = 1 if self.column else max(1, len(self.source.strip()))
        padding = "".join("\t" if c == "\t" else " " for c in self.source[: start - 1])
        margin = f"{self.line:>4} | "
        return f"{first}\n{margin}{self.source}\n{' ' * (len(margin) - 2)}| {padding}{'^' * length}"
