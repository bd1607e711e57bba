"""Containers: run, commit and build, by imagetool and by the programs that people use today.

`python -m benchmarks.containers` (benchmarks/README.md) measures them side by side.
"""
