"""Container images without a daemon: store, registries, mounts, builds and runs."""
