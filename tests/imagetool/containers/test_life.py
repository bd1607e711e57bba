"""The end of a container, for those who come late."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from imagetool.containers import life, record
from imagetool.containers import state as states
from imagetool.containers.folder import Container
from imagetool.containers.record import Record
from imagetool.containers.state import State
from imagetool.errors import NotFound
from imagetool.monitor import Monitor
from imagetool.runtime.options import ImageDefaults, RunOptions

MADE = Record("abc", "web", "httpd", "sha256:1", "sha256:2", "type", 3, 4.5, RunOptions(), ImageDefaults())


def test_the_exit_code_of_what_has_been_removed_is_not_made_up(tmp_path: Path) -> None:
    record.save(str(tmp_path), MADE)
    states.write(str(tmp_path), State("exited", exit_code=7))
    container = Container(str(tmp_path), MADE, State("running", 1 << 22, "another time"), False)
    assert life.wait(container) == 7
    (tmp_path / record.FILE).unlink()
    with pytest.raises(NotFound, match="No such container: web"):
        life.wait(container)
    shutil.rmtree(tmp_path)
    with pytest.raises(NotFound):
        life.wait(container)


def test_whoever_has_called_is_heard_at_the_end(tmp_path: Path) -> None:
    monitor = Monitor.__new__(Monitor)
    monitor._clients = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "ear"))
        listener.listen()
        callers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for caller in callers:
            caller.connect(str(tmp_path / "ear"))
        monitor._let_in(listener)
        assert len(monitor._clients) == 3
        for one in [*callers, *(client.sock for client in monitor._clients)]:
            one.close()
