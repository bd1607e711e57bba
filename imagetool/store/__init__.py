"""The store: images on disk, as an OCI image layout, for any number of processes at once.

    ROOT/oci-layout, index.json, blobs/ALG/HEX      the layout, to the letter (image-spec image-layout.md)
    ROOT/layers/ALG/HEX/{layer.tar,layer.idx}       a layer ready to be mounted, by diff ID; rebuildable
    ROOT/containers/ID/                             of each container; its file `roots` keeps images alive
    ROOT/mounts/ID/                                 of each mounted image, likewise
    ROOT/partial/ALG-HEX                            blobs that came in part; a later try goes on from there
    ROOT/locks/, ROOT/tmp/, ROOT/summaries.json     locks and leases; unpublished files; a cache for `images`

Everything is published by temporary file -> verify -> fsync -> rename -> fsync of the directory, references
last: a crash at any line leaves no blob, or a whole one. Locks are flock(2) and die with their owner.

A REFERENCE is one descriptor in index.json. Its `org.opencontainers.image.ref.name` is a full name: by tag
(`docker.io/library/debian:12`), or by the digest that a registry served (`docker.io/library/debian@sha256:…`,
which is what `RepoDigests` shows). An image that lost its last tag keeps a descriptor without a name.
What a reference names is complete: every blob of it, and every layer, was there when it was published.

    store = Store.open(root=None, create=True)          # raises StoreError
    store.references() -> list[Ref]                     # Ref(name: str | None, target: Descriptor)
    store.resolve(text, platform=None) -> Descriptor    # name, name:tag, name@digest, (short) ID -> manifest
    store.image(descriptor) -> Image                    # Image(target, manifest, config), parsed
    store.summaries() -> list[Summary]                  # one per reference; fast: what `images` needs
    store.read_blob(digest, limit=MAX_DOCUMENT) -> bytes        # verified; NotFound, Damaged
    store.open_blob(digest) -> BinaryIO                 # unverified, for uploads; NotFound
    store.has_blob(descriptor) -> bool                  # it is there with that size
    store.has_layer(descriptor, diff_id) -> bool        # blob, layer.tar and layer.idx are there
    store.layer_dir(diff_id) -> str                     # the path of a layer's directory
    store.publish(names, target, platform=None) -> Moved        # sets references; NotFound if target is incomplete
    store.tag(name, target), store.untag(name)          # see refs.py
    with store.lease() as lease: ...                    # everything that adds blobs works under a lease

A LEASE keeps what its process brings in safe from gc until references name it:

    lease.pin(*digests)                                 # BEFORE asking has_blob/has_layer for a blob to build on
    lease.put(data, expected=None) -> Digest            # a small blob, verified and published
    lease.put_all(data, …)                              # several, which takes less than one by one
    lease.claim(descriptor, diff_id=None, limits=LIMITS) -> Ingest | None
        # None: somebody else, here or in another process, is bringing in the same blob: wait some 50 ms, ask
        # has_layer()/has_blob() again, and claim again. Never blocks, so that it may be called on an event loop.

An INGEST is one blob on its way in. With a diff_id it is a layer: it is decompressed, hashed and indexed in
the same pass. All methods but `offset` may wait for the disk or for the pipeline: call them in a thread, one
at a time. It is a context manager: left without finish(), it keeps what came for a later try.

    ingest.offset                                       # bytes that an earlier try left: ask the server from there;
                                                        # all of them: nothing is left to ask for, only to finish()
    ingest.restart()                                    # the server sends from 0 after all: forget them
    ingest.feed(chunk)                                  # the first call passes the earlier bytes through as well
    ingest.finish() -> None                             # verified, synced and published. Damaged, LimitExceeded,
                                                        # NoSpace: nothing is published; damaged bytes are forgotten
"""
