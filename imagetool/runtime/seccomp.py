"""A seccomp profile compiled to a filter program, by libseccomp through its Python binding.

The binding is `seccomp` (libseccomp's own) or `pyseccomp` (the same interface). Compiling happens in the
executor's process; the helper only installs the bytes.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Mapping

from imagetool.errors import UsageError
from imagetool.runtime.errors import SandboxError
from unionfs.annotations import Any

_BINDINGS = ("seccomp", "pyseccomp")
_PLAIN = {"SCMP_ACT_ALLOW": "ALLOW", "SCMP_ACT_LOG": "LOG", "SCMP_ACT_TRAP": "TRAP", "SCMP_ACT_KILL": "KILL",
          "SCMP_ACT_KILL_THREAD": "KILL", "SCMP_ACT_KILL_PROCESS": "KILL_PROCESS"}  # fmt: skip
_EPERM = 1
_FORMAT = 1  # of the cache: raise it when compiling changes
_NO_SYSCALL = -1  # __NR_SCMP_ERROR


def available(cache: str = "") -> bool:
    """Whether a profile can be compiled. Where `cache` has compiled ones nobody asks again: it takes a while."""
    kept = os.listdir(cache) if cache and os.path.isdir(cache) else []
    return any(name.endswith(".bpf") for name in kept) or _binding() is not None


def compile_profile(profile: Mapping[str, Any]) -> bytes:
    """The BPF program of an OCI `linux.seccomp` object; calls unknown to this machine are left out."""
    lib = _binding()
    if lib is None:
        raise SandboxError(
            "the container's seccomp profile cannot be loaded",
            hint="install libseccomp's Python binding, or use --security-opt seccomp=unconfined",
        )
    try:
        default = _action(lib, profile["defaultAction"], profile.get("defaultErrnoRet", _EPERM))
        compiled = lib.SyscallFilter(default)
        for name in profile.get("architectures") or ():
            _add_architecture(lib, compiled, name)
        for rule in profile.get("syscalls") or ():
            _add_rule(lib, compiled, rule, default)
    except (KeyError, TypeError, ValueError, AttributeError, OSError, RuntimeError) as error:
        raise UsageError(f"the seccomp profile is not valid: {error!r}") from error
    from tempfile import TemporaryFile  # most containers have a profile that is compiled already

    with TemporaryFile() as file:
        compiled.export_bpf(file)
        file.seek(0)
        return file.read()


def cached(profile: Mapping[str, Any], directory: str) -> bytes:
    """The same, kept in `directory`: compiling takes longer than all the rest of starting a container."""
    if not directory:
        return compile_profile(profile)
    text = json.dumps([_FORMAT, profile], sort_keys=True).encode()
    path = f"{directory}/{hashlib.sha256(text).hexdigest()}.bpf"
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        program = compile_profile(profile)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.urandom(6).hex()}"  # several threads may be at it
    with open(temporary, "wb") as file:
        file.write(program)
    os.rename(temporary, path)
    return program


def _binding() -> Any:
    for name in _BINDINGS:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):  # the library itself may be missing, too
            continue
    return None


def _action(lib: Any, name: str, code: int) -> int:
    if name == "SCMP_ACT_ERRNO":
        return int(lib.ERRNO(code))
    if name not in _PLAIN:
        raise ValueError(f"unsupported action {name}")
    return int(getattr(lib, _PLAIN[name]))


def _add_architecture(lib: Any, compiled: Any, name: str) -> None:
    number = getattr(lib.Arch, name.removeprefix("SCMP_ARCH_"))
    if not compiled.exist_arch(number):
        compiled.add_arch(number)


def _add_rule(lib: Any, compiled: Any, rule: Mapping[str, Any], default: int) -> None:
    action = _action(lib, rule["action"], rule.get("errnoRet", _EPERM))
    if action == default:  # libseccomp refuses a rule that says nothing new
        return
    tests = [_test(lib, row) for row in rule.get("args") or ()]
    for name in rule["names"]:
        if _known(lib, name):
            compiled.add_rule(action, name, *tests)


def _known(lib: Any, name: str) -> bool:
    """Whether the library knows the call; every runtime leaves newer and other machines' names out."""
    try:
        return int(lib.resolve_syscall(lib.system_arch(), name)) != _NO_SYSCALL
    except (OSError, RuntimeError, ValueError):
        return False


def _test(lib: Any, row: Mapping[str, Any]) -> Any:
    operator = getattr(lib, row["op"].removeprefix("SCMP_CMP_"))
    return lib.Arg(row["index"], operator, row["value"], row.get("valueTwo", 0))
