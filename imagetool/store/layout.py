"""Where everything is below a store's root, and the root itself (image-spec image-layout.md)."""

from __future__ import annotations

import os

from imagetool import digest as digests
from imagetool import mediatypes
from imagetool.digest import Digest
from imagetool.errors import Malformed, StoreError
from imagetool.spec.descriptor import Descriptor
from imagetool.spec.fields import load
from imagetool.spec.manifest import Index
from imagetool.store import disk
from unionfs.namedtuple import NamedTuple

VERSION = b'{"imageLayoutVersion":"1.0.0"}'
DIRECTORIES = (
    "blobs", "blobs/sha256", "layers", "containers", "mounts", "build", "build/steps", "partial", "locks", "tmp",
)  # fmt: skip


def default_root() -> str:
    """IMAGETOOL_ROOT; else /var/lib/imagetool for root, and `imagetool` in the XDG data home for others."""
    if root := os.environ.get("IMAGETOOL_ROOT"):
        return root
    if os.geteuid() == 0:
        return "/var/lib/imagetool"
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(data, "imagetool")


class Layout(NamedTuple):
    """The paths of a store. Digests are checked values, so none of these leaves `root`."""

    root: str

    @property
    def references(self) -> str:
        return f"{self.root}/index.json"

    @property
    def summaries(self) -> str:
        return f"{self.root}/summaries.json"

    @property
    def containers(self) -> str:
        return f"{self.root}/containers"

    @property
    def mounts(self) -> str:
        return f"{self.root}/mounts"

    @property
    def build(self) -> str:
        return f"{self.root}/build"

    @property
    def steps(self) -> str:
        return f"{self.root}/build/steps"

    @property
    def temporary(self) -> str:
        return f"{self.root}/tmp"

    @property
    def locks(self) -> str:
        return f"{self.root}/locks"

    def lock(self, name: str) -> str:
        return f"{self.root}/locks/{name}"

    def blob(self, digest: Digest) -> str:
        return f"{self.root}/blobs/{digests.algorithm(digest)}/{digests.encoded(digest)}"

    def partial(self, digest: Digest) -> str:
        return f"{self.root}/partial/{digests.algorithm(digest)}-{digests.encoded(digest)}"

    def layer(self, diff_id: Digest) -> str:
        return f"{self.root}/layers/{digests.algorithm(diff_id)}/{digests.encoded(diff_id)}"

    def layer_tar(self, diff_id: Digest) -> str:
        return self.layer(diff_id) + "/layer.tar"

    def layer_index(self, diff_id: Digest) -> str:
        return self.layer(diff_id) + "/layer.idx"


def open_layout(root: str, *, create: bool) -> Layout:
    """The layout at `root`, made if it is missing and `create`. StoreError if it is none, or cannot be made."""
    layout = Layout(os.path.abspath(root))
    marker = f"{layout.root}/oci-layout"
    with disk.errors("cannot open the store"):
        if not os.path.exists(marker) and create:
            _make(layout, marker)
        try:
            with open(marker, "rb") as file:
                version = file.read(4096)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreError(f"no image store at {layout.root}", hint="give its place with --root") from error
    _check_version(layout, version)
    return layout


def read_index(layout: Layout) -> Index:
    """index.json. StoreError when it is damaged: references are the one thing that cannot be rebuilt."""
    with disk.errors("cannot read the store"), open(layout.references, "rb") as file:
        data = file.read()
    try:
        return Index.parse(data)
    except Malformed as error:
        raise StoreError(
            f"{layout.references} is damaged: {error}", hint="restore it from a backup"
        ) from error


def write_index(layout: Layout, manifests: tuple[Descriptor, ...], old: Index, temporary: str) -> None:
    """Replaces the references, if they are other ones. Only under the `index` lock."""
    if manifests == old.manifests:
        return
    with disk.errors("cannot write the store"):
        disk.publish(old._replace(manifests=manifests).render(), layout.references, temporary)


def _make(layout: Layout, marker: str) -> None:
    """Any number of processes may do this at once: what exists is kept, the marker comes last."""
    os.makedirs(layout.root, mode=0o700, exist_ok=True)
    if foreign := set(os.listdir(layout.root)) - {"oci-layout", "index.json", *DIRECTORIES}:
        hint = "give an empty or new directory with --root"
        raise StoreError(f"{layout.root} is not an image store: it has {min(foreign)!r}", hint=hint)
    for name in DIRECTORIES:
        os.makedirs(f"{layout.root}/{name}", exist_ok=True)
    empty = Index((), mediatypes.OCI_INDEX).render()
    for path, data in ((layout.references, empty), (marker, VERSION)):
        _publish_once(path, data, f"{layout.temporary}/init-{os.getpid()}-{os.urandom(4).hex()}")


def _publish_once(path: str, data: bytes, temporary: str) -> None:
    """Like disk.publish, but a file that somebody else published meanwhile stays."""
    fd = disk.create(temporary)
    try:
        disk.write_all(fd, data)
        os.fsync(fd)
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.close(fd)
        os.unlink(temporary)
    disk.sync_dir(os.path.dirname(path))


def _check_version(layout: Layout, marker: bytes) -> None:
    try:
        version = load(marker, "oci-layout").get("imageLayoutVersion")
    except Malformed as error:
        raise StoreError(f"{layout.root} is not an image store: {error}") from error
    if version != "1.0.0":
        raise StoreError(f"{layout.root} has the layout version {version!r}, not 1.0.0")
    for name in DIRECTORIES:  # an OCI layout of another tool becomes a store by having these
        if not os.path.isdir(f"{layout.root}/{name}"):
            with disk.errors("cannot open the store"):
                os.makedirs(f"{layout.root}/{name}", exist_ok=True)
