"""What works on a container's files has been cut off from them and from the host: take a guard away, a test fails."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imagetool.containers.shutin import shut_in
from imagetool.runtime import capabilities, linux

_PR_GET_DUMPABLE = 3

pytestmark = pytest.mark.timeout(30)


def said(root: Path, action: Callable[[], str]) -> str:
    """What `action` answers, or fails with, in a process that is shut into `root`."""
    reader, writer = os.pipe()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
        shut_in(fd, tell, writer, lambda: os.close(os.write(writer, action().encode()) and writer))
    os.close(writer)
    os.close(tell)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as answer, os.fdopen(told) as failure:
        return answer.read() + failure.read()


def test_its_root_is_the_container_s(tmp_path: Path) -> None:
    (tmp_path / "inside").touch()
    assert said(tmp_path, lambda: " ".join(os.listdir("../../.."))) == "inside"


def test_no_module_of_the_image_is_imported(tmp_path: Path) -> None:
    library = tmp_path / os.path.dirname(os.__file__).lstrip("/")
    library.mkdir(parents=True)
    (library / "colorsys.py").write_text("open('/trapped', 'w')\n")

    def action() -> str:
        import colorsys

        return colorsys.__name__

    assert "No module named 'colorsys'" in said(tmp_path, action)
    assert not (tmp_path / "trapped").exists()


def test_no_name_is_looked_up_by_the_image_s_libraries(tmp_path: Path) -> None:
    """nsswitch.conf(5) and the libraries that it names would be those of the image, run by the host's root."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("planted:x:0:0::/:\n")
    (tmp_path / "etc/group").write_text("planted:x:0:\n")

    def action() -> str:
        with tarfile.open("/tar", "w") as tar:
            entry = tar.gettarinfo("/etc")
        return f"{entry.uname}:{entry.gname}"

    assert said(tmp_path, action) == ":"


def test_it_has_the_rights_over_files_alone(tmp_path: Path) -> None:
    """Those that a container has, and not the one to open files by their handles."""

    def action() -> str:
        return "; ".join(str(code) for code in (_chroot(), _nice()))

    assert said(tmp_path, action) == "1; 13"
    kept = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"}
    assert kept <= {name.removeprefix("CAP_") for name in capabilities.DEFAULT}


def _chroot() -> int:
    try:
        os.chroot("/")
    except OSError as error:
        return error.errno
    return 0


def _nice() -> int:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except OSError as error:
        return error.errno
    return 0


def test_no_descriptor_of_the_host_is_left(tmp_path: Path) -> None:
    leaked = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(leaked, True)

    def action() -> str:
        return str([fd for fd in range(3, 200) if _leads_to(fd)])

    try:
        assert said(tmp_path, action) == "[]"
    finally:
        os.close(leaked)


def _leads_to(fd: int) -> bool:
    """Whether it is a directory, through which one could leave."""
    try:
        os.fchdir(fd)
    except OSError:
        return False
    return True


def test_its_standard_streams_are_nobody_s(tmp_path: Path) -> None:
    assert said(tmp_path, lambda: str({os.major(os.fstat(fd).st_rdev) for fd in (0, 1, 2)})) == "{1}"


def test_nobody_traces_it(tmp_path: Path) -> None:
    """Where a container sees the host's processes it has the same user and the same rights."""
    assert said(tmp_path, lambda: str(linux.prctl(_PR_GET_DUMPABLE))) == "0"
