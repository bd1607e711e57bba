"""The figures to reach with images."""

from __future__ import annotations

from benchmarks.programs.report import Target

UNPACKING = ("podman", "ctr", "docker", "umoci")
PACKAGES = ("podman", "skopeo", "umoci", "containerd", "docker.io", "docker-registry")

TARGETS = (
    Target("pull-debian", "ms", "0.4 x the fastest that unpacks", 0.4, UNPACKING),
    Target("pull-nine", "ms", "0.4 x the fastest that unpacks", 0.4, UNPACKING),
    Target("pull-many", "ms", "0.2 x the fastest that unpacks", 0.2, UNPACKING),
    Target("push", "empty ms", "1.2 x skopeo", 1.2, ("skopeo",)),
    Target("push", "again ms", "2 x skopeo", 2.0, ("skopeo",)),
    Target("mount", "ms", "150 ms", plus=150.0),
    Target("images", "ms", "300 ms", plus=300.0),
    *(Target(name, "peak MiB", "150 MiB", plus=150.0) for name in ("pull-debian", "pull-nine", "pull-many", "push")),
)  # fmt: skip
