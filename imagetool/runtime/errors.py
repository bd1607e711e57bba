"""What running a container can fail with; the exit codes are Docker's."""

from __future__ import annotations

from imagetool.errors import ImageToolError


class SandboxError(ImageToolError):
    """The container could not be set up: nothing of it has run, nothing of it is left."""


class NetworkError(ImageToolError):
    """A network could not be set up, or an address or port is not to be had."""


class NotExecutable(SandboxError):
    """The command is there and cannot be executed."""

    exit_code = 126

    def __init__(self, command: str) -> None:
        super().__init__(f"Container command '{command}' could not be invoked.")


class CommandNotFound(SandboxError):
    """The command is not in the container."""

    exit_code = 127

    def __init__(self, command: str) -> None:
        super().__init__(f"Container command '{command}' not found or does not exist.")
