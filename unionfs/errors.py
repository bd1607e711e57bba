"""Every error that unionfs raises on purpose.

UnionError carries an errno for the caller of a file operation; SetupError is for the person who mounts.
OSError from a system call on a layer passes through unchanged: its errno already is the answer.
"""

import os


class UnionError(OSError):
    """A file operation that the union refuses: `errno` is what the caller sees, the text is for the log."""

    def __init__(self, errno: int, text: str = "") -> None:
        super().__init__(errno, text or os.strerror(errno))


class SetupError(Exception):
    """A mount that cannot be made: one line that says what failed and on what, and a hint what to do."""

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} ({self.hint})" if self.hint else text


class LayerError(SetupError):
    """A layer that is damaged or hostile: names the file, the member and the byte offset."""
