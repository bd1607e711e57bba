"""Files of a git repository, by git(1): a context, or a source of ADD.

Nobody's configuration but git's defaults is used, and nothing is asked on a terminal: a repository's hooks, filters
and remote helpers do not run here.
"""

from __future__ import annotations

import os
import re
import subprocess

from imagetool.build.places import locate
from imagetool.errors import ImageToolError, NotFound, UsageError
from unionfs.namedtuple import NamedTuple

_REMOTE = re.compile(r"(git|ssh)://.+|git@[^/:]+:.+|https?://[^#]+\.git(#.*)?")
_KEPT = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_KEYS = ("HOME", "SSH_AUTH_SOCK")
_SHA = re.compile(r"[0-9a-f]{4,64}")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Repository(NamedTuple):
    """`ref` is a branch, a tag or a commit, "" the default branch; `subdir` "" is all of it."""

    url: str
    ref: str = ""
    subdir: str = ""


class Checkout(NamedTuple):
    directory: str
    commit: str


def parse(text: str) -> Repository | None:
    """PURE. The repository that `text` means: git's URLs, `file://` ones, https ones that end in `.git`, GitHub's."""
    if text.startswith("github.com/"):
        text = f"https://{text}"
    elif not (_REMOTE.fullmatch(text) or text.startswith("file://")):
        return None
    return split(text)


def local(text: str) -> Repository | None:
    """The repository on this machine that the path `text`, with `#ref:subdir` or of a bare one, means."""
    path, fragment, _ = text.partition("#")
    bare = os.path.isfile(f"{path}/HEAD") and os.path.isdir(f"{path}/objects")
    if bare or (fragment and os.path.exists(f"{path}/.git")):
        return split(text)._replace(url=os.path.abspath(path))
    return None


def split(text: str) -> Repository:
    """PURE: `url#ref:subdir`."""
    url, _, fragment = text.partition("#")
    ref, _, subdir = fragment.partition(":")
    return Repository(url, ref, subdir)


class _Git:
    """git(1): called with a directory and arguments, it gives what that printed. ImageToolError."""

    def __init__(self, keys: bool) -> None:
        names = {*_KEPT, *(_KEYS if keys else ()), *_PROXIES, *(name.upper() for name in _PROXIES)}
        kept = {name: value for name, value in os.environ.items() if name in names}
        self._environment = kept | {
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        }  # fmt: skip

    def __call__(self, directory: str, *arguments: str) -> str:
        command = ["git", "-C", directory, *arguments]
        try:
            done = subprocess.run(
                command, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                umask=0o022,  # git's modes are what this leaves of 0666 and 0777
            )  # fmt: skip
        except FileNotFoundError:
            raise ImageToolError("git is not installed", hint="a git repository needs it") from None
        if done.returncode:
            text = done.stderr.decode(errors="replace") or f"git {arguments[0]} failed"
            raise ImageToolError(f"git: {' '.join(text.split()).removeprefix('fatal: ')}")
        return done.stdout.decode(errors="surrogateescape").strip()


def checkout(repository: Repository, work: str, *, keep_git_dir: bool = False, keys: bool = True) -> Checkout:
    """Its files in a new directory below `work`, with `.git` only if that is wanted. NotFound, ImageToolError.

    `keys`: ssh may show the user's, as for a repository that the user names; one that a Dockerfile names has none.
    """
    git = _Git(keys)
    if repository.ref.startswith("-") or repository.url.startswith("-"):
        raise UsageError(f"not a git repository: {repository.url}#{repository.ref}")
    home = f"{work}/repository"
    git(work, "init", "--quiet", "--template=", "--", home)
    commit = _fetch(git, repository, home)
    git(home, "-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", commit)
    if os.path.lexists(f"{home}/.gitmodules"):
        git(home, "submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
    if not keep_git_dir:
        _without_git(home)
    return Checkout(_inside(home, repository.subdir), commit)


def _fetch(git: _Git, repository: Repository, home: str) -> str:
    """Only what is needed, if the server gives single commits; else all branches and tags."""
    wanted = repository.ref or "HEAD"
    url = repository.url
    try:
        git(home, "fetch", "--quiet", "--depth=1", "--no-tags", "--", url, wanted)
    except ImageToolError as error:
        if _SHA.fullmatch(wanted):
            git(
                home,
                "fetch",
                "--quiet",
                "--",
                url,
                "+refs/heads/*:refs/remotes/o/*",
                "+refs/tags/*:refs/tags/*",
            )
            return git(home, "rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}")
        if "shallow" not in error.text:
            raise
        git(
            home, "fetch", "--quiet", "--no-tags", "--", url, wanted
        )  # a server of plain files gives all or nothing
    return git(home, "rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")


def _without_git(home: str) -> None:
    import shutil

    shutil.rmtree(f"{home}/.git")


def _inside(home: str, subdir: str) -> str:
    """The directory of the checkout that is wanted; its links lead nowhere outside."""
    fd = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with locate(fd, subdir, directory=True) as place:
            return "/".join((home, *place.path))
    except OSError as error:
        raise NotFound(f"the repository has no directory {subdir}") from error
    finally:
        os.close(fd)
