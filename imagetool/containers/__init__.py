"""Containers on disk, and their lives. There is no daemon: each running container has a monitor (see `monitor`).

    ROOT/containers/ID/container.json   what it was made with; published last, gone first: without it there is none
    ROOT/containers/ID/roots            the manifest, so that nothing collects the image
    ROOT/containers/ID/state.json       what its last start came to; `state.seen` says how much of it still holds
    ROOT/containers/ID/running          locked, flock(2), by the monitor or by whoever changes the container
    ROOT/containers/ID/config.json      the runtime specification of the last start: the directory is the bundle
    ROOT/containers/ID/rootfs           mount point of the union while it runs
    ROOT/containers/ID/top/{upper,work} the RW layer
    ROOT/containers/ID/top.ext4         the file system that is mounted on top/ where the RW layer has a limit
    ROOT/containers/ID/stubs/           the lowest layer: mount points, so that none comes to be in the RW layer
    ROOT/containers/ID/{hosts,hostname,resolv.conf}    shown in the container's /etc
    ROOT/containers/ID/log              a JSON line for each line of output
    ROOT/containers/ID/attach           the monitor's socket, see `frames`
    ROOT/volumes/NAME/                  volumes; those without a name have 64 hexadecimal digits
    ROOT/volumes/.NAME                  labels of a volume that has some

A process that is killed at any point leaves a state that is still true: what is recorded as running counts only
while a process of that id and start time lives.
"""
