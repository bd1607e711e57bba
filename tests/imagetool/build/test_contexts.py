"""Where a build's files come from: directories, tars, standard input, git repositories, URLs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard

from imagetool.build.contexts import Context, open_context
from imagetool.build.git import Repository, parse
from imagetool.build.trees import Tree
from imagetool.errors import ImageToolError
from tests.imagetool.build.web import serving
from tests.support.oci import tar_of

FILE = "FROM scratch\nCOPY f /\n"


def names(context: Context) -> set[str]:
    with Tree(context.root, ignore=context.ignore) as tree:
        return {
            "/".join((*folder.path, name)) for folder in tree.folder(()).walk() for name, _ in folder.others
        }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    (path / "sub").mkdir(parents=True)
    (path / "Dockerfile").write_text(FILE)
    (path / "f").write_text("f")
    (path / "sub/g").write_text("g")
    return path


def test_a_directory(folder: Path) -> None:
    with open_context(str(folder)) as context:
        assert context.root == folder
        assert (context.dockerfile, context.dockerfile_name, context.lasting) == (FILE, "Dockerfile", True)
        assert names(context) == {"Dockerfile", "f", "sub/g"}


def test_dockerignore(folder: Path) -> None:
    (folder / ".dockerignore").write_text("sub\nDockerfile\n.dockerignore")
    with open_context(str(folder)) as context:
        assert (names(context), context.dockerfile) == ({"f"}, FILE)
    (folder / "Dockerfile.dockerignore").write_text("f\n*ignore")
    with open_context(str(folder)) as context:
        assert names(context) == {"Dockerfile", "sub/g"}


def test_the_dockerfile_may_be_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/My.file").write_text("FROM a")
    (tmp_path / "elsewhere/My.file.dockerignore").write_text("f")
    with open_context(str(folder), str(tmp_path / "elsewhere/My.file")) as context:
        assert context.dockerfile == "FROM a"
        assert names(context) == {"Dockerfile", "sub/g"}
    monkeypatch.chdir(tmp_path)
    with open_context("context", "elsewhere/My.file") as context:
        assert context.dockerfile == "FROM a"
    (folder / "sub/Dockerfile").write_text("FROM b")
    with open_context("context", "sub/Dockerfile") as context:  # not here, so of the context
        assert context.dockerfile == "FROM b"


def test_the_dockerfile_on_standard_input(folder: Path) -> None:
    with open_context(str(folder), "-", io.BytesIO(b"FROM x")) as context:
        assert (context.dockerfile, context.root) == ("FROM x", folder)
    with open_context("-", None, io.BytesIO(b"FROM y")) as context:
        assert (context.dockerfile, names(context), context.lasting) == ("FROM y", set(), False)
    assert not context.root.exists()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}  # fmt: skip


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_a_tar_on_standard_input(kind: str) -> None:
    tar = tar_of(
        {
            "./Dockerfile": FILE.encode(),
            "f": b"f",
            "sub/g": b"g",
            "sub/Other": b"FROM o",
            "sub/.dockerignore": b"",
        }
    )
    with open_context("-", None, io.BytesIO(COMPRESSIONS[kind](tar))) as context:
        assert context.dockerfile == FILE
        assert names(context) == {"Dockerfile", "f", "sub/g", "sub/Other", "sub/.dockerignore"}
        assert (context.root / "sub/g").read_bytes() == b"g"
    assert not context.root.exists()
    with open_context("-", "sub/Other", io.BytesIO(COMPRESSIONS[kind](tar))) as context:
        assert (context.dockerfile, context.dockerfile_name) == ("FROM o", "sub/Other")


def test_a_tar_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("FROM secret")
    for target in (str(tmp_path / "secret"), "../" * 20 + str(tmp_path)[1:] + "/secret"):
        with (
            pytest.raises(ImageToolError, match="Dockerfile"),
            open_context("-", None, io.BytesIO(tar_of({"Dockerfile": target}))),
        ):
            pass
    evil = tar_of({"link": str(tmp_path), "Dockerfile": b"FROM x", "../escaped": b"", "link/escaped": b""})
    before = sorted(tmp_path.iterdir())
    with suppress(ImageToolError), open_context("-", None, io.BytesIO(evil)):
        pass
    assert sorted(tmp_path.iterdir()) == before


def git(directory: Path, *arguments: str) -> str:
    environment = {
        "PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }  # fmt: skip
    done = subprocess.run(
        ["git", "-C", directory, *arguments], env=environment, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


@pytest.fixture
def repository(folder: Path, tmp_path: Path) -> Path:
    """A bare one: `main` with the folder, tag v1 and branch `other` with an older state."""
    git(folder, "init", "-q", "-b", "main")
    (folder / "sub/Dockerfile").write_text("FROM sub")
    (folder / "old").write_text("old")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    git(folder, "tag", "v1")
    git(folder, "branch", "other")
    (folder / "old").unlink()
    (folder / "link").symlink_to("../../..")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-a", "-m", "two")
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(folder), str(bare))
    return bare


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("https://host/x.git", Repository("https://host/x.git")),
        ("http://host/x.git#main", Repository("http://host/x.git", "main")),
        ("https://host/x.git#v1:sub/dir", Repository("https://host/x.git", "v1", "sub/dir")),
        ("git@host:me/x.git#:sub", Repository("git@host:me/x.git", "", "sub")),
        ("git://host/x", Repository("git://host/x")),
        ("ssh://git@host:22/x", Repository("ssh://git@host:22/x")),
        ("github.com/me/x#b", Repository("https://github.com/me/x", "b")),
        ("file:///x.git", Repository("file:///x.git")),
        ("https://host/x.tar.gz", None),
        ("https://host/x.git/raw", None),
        ("ext::sh -c evil", None),
        ("--upload-pack=evil", None),
        ("path.git", None),
        ("", None),
    ],
)
def test_what_is_a_git_repository(text: str, meant: Repository | None) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize("form", ["{0}", "file://{0}"])
def test_a_git_repository(repository: Path, form: str) -> None:
    url = form.format(repository)
    with open_context(url) as context:
        assert names(context) == {"Dockerfile", "f", "link", "sub/Dockerfile", "sub/g"}
        assert not (context.root / ".git").exists()
    assert not context.root.exists()
    first = git(repository, "rev-parse", "v1")
    for ref in ("v1", "other", first, first[:10], "refs/heads/other"):
        with open_context(f"{url}#{ref}") as context:
            assert "old" in names(context), ref
    with open_context(f"{url}#:sub") as context:
        assert (context.dockerfile, names(context)) == ("FROM sub", {"Dockerfile", "g"})
    with open_context(
        f"{url}#:link"
    ) as context:  # its target is "../../..", which ends at the repository's root
        assert "sub/g" in names(context)
    with open_context(f"{url}#v1:sub", "Dockerfile") as context:
        assert context.dockerfile == "FROM sub"


def test_modes_of_a_repository_do_not_depend_on_the_umask(repository: Path) -> None:
    before = os.umask(0o077)
    try:
        with open_context(str(repository)) as context:
            modes = {(context.root / name).stat().st_mode & 0o777 for name in ("f", "sub/g")}
            assert (modes, (context.root / "sub").stat().st_mode & 0o777) == ({0o644}, 0o755)
    finally:
        os.umask(before)


def test_a_git_work_tree_at_a_ref(folder: Path, repository: Path) -> None:
    with open_context(f"{folder}#v1") as context:
        assert "old" in names(context)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{0}#nope", "git: couldn't find remote ref nope"),
        ("{0}#:nope", "no directory nope"),
        ("{0}#--upload-pack=x", "not a git repository"),
        ("file://{0}/missing", "git: "),
    ],
)  # fmt: skip
def test_git_refusals(repository: Path, spec: str, words: str) -> None:
    with pytest.raises(ImageToolError) as error, open_context(spec.format(repository)):
        pass
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_url(tmp_path: Path) -> None:
    tar = gzip.compress(tar_of({"Dockerfile": FILE.encode(), "f": b"f"}))
    with serving({"/context.tar.gz": tar, "/Dockerfile": b"FROM url"}) as web:
        with open_context(f"{web.url}/context.tar.gz") as context:
            assert (context.dockerfile, names(context)) == (FILE, {"Dockerfile", "f"})
        with open_context(f"{web.url}/Dockerfile") as context:
            assert (context.dockerfile, names(context)) == ("FROM url", set())
        with pytest.raises(ImageToolError, match="404"), open_context(f"{web.url}/missing"):
            pass


@pytest.mark.parametrize(
    ("spec", "dockerfile", "stdin", "words"),
    [
        ("-", "-", b"", "cannot be both"),
        ("/nowhere", None, b"", "path '/nowhere' not found"),
        ("/etc/passwd", None, b"", "is not a directory"),
        ("-", None, b"\x1f\x8bbroken", "standard input"),
        ("-", None, tar_of({"f": b""}), "has no Dockerfile"),
        ("-", "Other", tar_of({"f": b""}), "no file Other"),
        ("-", "Other", b"FROM x", "is a Dockerfile and no context"),
        ("-", None, b"FROM\0x", "is not text"),
        ("-", None, b"#" * (5 << 20), "larger than 4 MiB"),
    ],
)  # fmt: skip
def test_refusals(spec: str, dockerfile: str | None, stdin: bytes, words: str) -> None:
    with pytest.raises(ImageToolError) as error, open_context(spec, dockerfile, io.BytesIO(stdin)):
        pass
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_refusals_of_directories(folder: Path) -> None:
    with (
        pytest.raises(ImageToolError, match="cannot read the Dockerfile nope"),
        open_context(str(folder), "nope"),
    ):
        pass
    (folder / ".dockerignore").write_text("a\n[b\n")
    with pytest.raises(ImageToolError, match=r"\.dockerignore:2: "), open_context(str(folder)):
        pass
    (folder / ".dockerignore").unlink()
    (folder / "Dockerfile").unlink()
    (folder / "Dockerfile").symlink_to("../elsewhere")
    with pytest.raises(ImageToolError, match="leads to nothing in the context"), open_context(str(folder)):
        pass
    (folder / "Dockerfile").unlink()
    with pytest.raises(ImageToolError, match="has no Dockerfile"), open_context(str(folder)):
        pass
