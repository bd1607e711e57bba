"""The figures to reach with containers."""

from __future__ import annotations

from benchmarks.containers.workloads import TOPS
from benchmarks.programs.report import Target

PACKAGES = ("podman", "buildah", "crun", "fuse-overlayfs", "containerd", "docker.io", "runc")

TARGETS = (
    Target("run", "bridge ms", "0.7 x podman", 0.7, ("podman",)),  # what each does when nothing is said
    Target("memory", "PSS MiB", "40 MiB", plus=40.0, ours=TOPS),
    Target("commit", "30,000 files ms", "1.0 x buildah", 1.0, ("buildah",), ours=TOPS),
    *(
        Target("commit", "30,000 files ms", "1.2 x its own with 100 files", 1.2, (f"{top}/100 files ms",), ours=(top,))
        for top in TOPS
    ),
    *(
        Target("build", f"{what}, {network} network ms", f"{times} x buildah", times, ("buildah",))
        for network in ("own", "host")
        for what, times in (("cold", 0.6), ("cached", 0.5))
    ),
    Target("copy", "cached ms", "1.0 x docker", 1.0, ("docker",)),
)  # fmt: skip
