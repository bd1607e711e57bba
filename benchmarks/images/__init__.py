"""Images: pull, push, mount and list, by imagetool and by the programs that people use today.

`python -m benchmarks.images` (benchmarks/README.md) measures them side by side, from a registry on this machine.
"""
