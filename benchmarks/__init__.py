"""How fast the union is beside kernel overlayfs, fuse-overlayfs and unionfs-fuse: same input, same run.

`python -m benchmarks` measures; README.md says how to read what it writes.
"""
