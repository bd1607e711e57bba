"""PURE: the rows of `images`, and its filters. The grouping, the order and the words are Docker's."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from imagetool import digest as digests
from imagetool.digest import Digest
from imagetool.errors import ImageToolError
from imagetool.store.summary import Summary
from imagetool.units import parse_time, since_text, size_text
from unionfs.namedtuple import NamedTuple

NONE = "<none>"

TITLES = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Platform": "PLATFORM",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "VIRTUAL SIZE",
}


class Image(NamedTuple):
    """One image with all its names. `tags` and `digests` are by repository, both as people write them."""

    facts: Summary
    tags: Mapping[str, Sequence[str]]
    digests: Mapping[str, Sequence[str]]
    created: float  # seconds since 1970; 0 where it is not known

    def names(self) -> Iterator[str]:
        """`repository:tag`, familiar."""
        return (f"{repository}:{tag}" for repository, tags in self.tags.items() for tag in tags)

    def repo_digests(self) -> Iterator[str]:
        return (f"{repository}@{one}" for repository, many in self.digests.items() for one in many)


class Row(NamedTuple):
    """One line of the list; None where there is no such thing."""

    image: Image
    repository: str | None
    tag: str | None
    digest: str | None


def images(summaries: Iterable[Summary]) -> list[Image]:
    """Every image once, the newest first."""
    found: dict[Digest, tuple[Summary, dict[str, list[str]], dict[str, list[str]]]] = {}
    for summary in summaries:
        _, tags, by_digest = found.setdefault(summary.image_id, (summary, {}, {}))
        if summary.name is None:
            continue
        repository, separator, rest = split(summary.name)
        (tags if separator == ":" else by_digest).setdefault(repository, []).append(rest)
    rows = [Image(facts, tags, known, _created(facts)) for facts, tags, known in found.values()]
    return sorted(rows, key=lambda image: -image.created)


def split(name: str) -> tuple[str, str, str]:
    """A full name -> the familiar repository, `:` or `@`, and the tag or digest."""
    repository, separator, rest = name.partition("@")
    if not separator:
        repository, separator, rest = name.rpartition(":")
    if repository.startswith("docker.io/"):
        short = repository.removeprefix("docker.io/")
        rest_of = short.removeprefix("library/")
        repository = short if "/" in rest_of else rest_of
    return repository, separator, rest


def _created(facts: Summary) -> float:
    try:
        return parse_time(facts.created) if facts.created else 0.0
    except ImageToolError:
        return 0.0


def rows(image: Image, *, digests: bool) -> Iterator[Row]:
    """One row a tag; with digests, one a tag and digest. An image without a name has one row too."""
    if not image.tags and not image.digests:
        yield Row(image, None, None, None)
    for repository, tags in image.tags.items():
        known = image.digests.get(repository, ()) if digests else ()
        yield from (Row(image, repository, tag, one) for one in known or (None,) for tag in tags)
    for repository, known in image.digests.items():
        if repository not in image.tags:
            yield from (Row(image, repository, None, one) for one in (known if digests else known[:1]))


def fields(row: Row, *, full: bool, now: float) -> dict[str, str]:
    """What a template can ask of a row."""
    facts = row.image.facts
    created = row.image.created
    return {
        "ID": facts.image_id if full else digests.short(facts.image_id),
        "Repository": row.repository or NONE,
        "Tag": row.tag or NONE,
        "Digest": row.digest or NONE,
        "CreatedSince": since_text(facts.created, now) if created else "N/A",
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(created)) if created else "N/A",
        "Size": size_text(facts.size),
        "Platform": facts.platform,
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "VirtualSize": size_text(facts.size),
    }
