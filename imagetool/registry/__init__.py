"""The registry half of imagetool: challenges, credentials, registries.conf, HTTP, pull and push.

Importing this package costs nothing; its modules are imported by those who go to the network.

    registries = config.load()                           # registries.conf; UsageError
    registries.parse(text) -> Reference                  # reference.parse, with the short-name aliases
    async with remote.connect(credentials=None, certificates=None, ...) as remote:    # under trio
        await pull.pull(store, reference, remote, pull.Options(...), progress) -> Pulled
        await push.push(store, reference, remote, push.Options(...), progress) -> Descriptor
        await login.login(remote.client, remote.keyring, remote.registries, domain, Credentials(user, password))
        await search.search(remote.client, remote.registries, term, limit=25, filters=Filters()) -> list[Found]
        remote.repositories(reference)[-1].manifest(tag) / .blob(descriptor) / .tags()       # to look around
    login.logout(Keyring(), domain)

    already.push(store, reference, registries, push.Options(...), progress) -> Descriptor | None  # without trio

Downwards: pull, push -> transfer, upload -> repository -> client -> auth -> transport -> httpcore2. PURE are
challenge, urls, proxies and most of retry. A `progress` comes from `imagetool.progress.show(stream)`.
"""

USER_AGENT = "imagetool"
