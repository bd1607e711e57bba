"""Tags and digests in index.json: what tagging, pulling and removing do to them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool import digest as digests
from imagetool import mediatypes, reference
from imagetool.errors import AmbiguousReference, Conflict, InvalidReference, NotFound
from imagetool.spec import Descriptor
from imagetool.store import refs, removal
from imagetool.store.refs import Ref, References
from imagetool.store.removal import Removal, Use
from imagetool.store.resolve import resolve


def target(number: int) -> Descriptor:
    return Descriptor(mediatypes.OCI_MANIFEST, digests.of(b"manifest %d" % number), number)


def name(short: str) -> str:
    return str(reference.parse(short).tagged())


changes = st.lists(
    st.tuples(
        st.sampled_from(["point", "drop", "remove"]),
        st.integers(0, 3),
        st.lists(st.sampled_from("abc"), max_size=2),
    ),
    max_size=12,
)


def changed(entries: References, kind: str, number: int, names: list[str]) -> References:
    if kind == "point":
        return refs.point(entries, map(name, names), target(number))
    if kind == "drop":
        return refs.drop(entries, [name(each) for each in names])
    return refs.remove(entries, {target(number).digest})


@given(changes)
def test_names_are_unique_and_no_image_is_lost_but_by_removal(
    steps: list[tuple[str, int, list[str]]],
) -> None:
    entries: References = ()
    for kind, number, names in steps:
        before = {entry.digest for entry in entries}
        entries = changed(entries, kind, number, names)
        counted = Counter(refs.name_of(entry) for entry in entries)
        assert all(count == 1 for each, count in counted.items() if each)
        unnamed = [entry.digest for entry in entries if refs.name_of(entry) is None]
        named = {entry.digest for entry in entries if refs.name_of(entry)}
        assert len(set(unnamed)) == len(unnamed)
        assert not named & set(unnamed)
        gone = {target(number).digest} if kind == "remove" else set()
        assert before - gone <= {entry.digest for entry in entries}
        if kind == "point":
            assert all(refs.find(entries, name(each)) == target(number) for each in names)


def test_names_of_other_tools_are_completed() -> None:
    entry = target(1)._replace(annotations={refs.REF_NAME: "debian"})
    assert refs.name_of(entry) == "docker.io/library/debian:latest"
    assert refs.name_of(target(1)._replace(annotations={refs.REF_NAME: "NOT valid"})) == "NOT valid"


IDS = [digests.of(b"config %d" % number) for number in range(3)]
THERE = [
    Ref(name("debian:12"), target(0)),
    Ref(f"docker.io/library/debian@{target(0).digest}", target(0)),
    Ref(name("tomcat"), target(1)),
    Ref(None, target(2)),
]


def find(text: str, ids: dict[int, str] | None = None) -> Descriptor:
    known = [(ids or {}).get(ref.target.size, IDS[ref.target.size]) for ref in THERE]
    pairs = [(digests.Digest(each), ref.target) for each, ref in zip(known, THERE, strict=True)]
    return resolve(text, THERE, lambda: pairs)[1]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("debian:12", 0),
        ("docker.io/library/debian:12", 0),
        (f"debian@{target(0).digest}", 0),
        (f"debian:whatever@{target(0).digest}", 0),
        ("tomcat", 1),
        (f"tomcat@{target(1).digest}", 1),
        (IDS[2], 2),
        (IDS[2][7:19], 2),
        (IDS[1][7:], 1),
        (target(2).digest, 2),
    ],
)
def test_what_a_person_means(text: str, number: int) -> None:
    assert find(text) == target(number)


def test_a_typing_slip_gets_a_suggestion() -> None:
    with pytest.raises(NotFound, match=r"No such image: tomcat:lastest \(did you mean tomcat:latest\?\)"):
        find("tomcat:lastest")
    with pytest.raises(NotFound, match=r"^No such image: alpine$"):
        find("alpine")
    with pytest.raises(InvalidReference, match="lower case"):
        find("Debian")


def test_the_beginning_of_two_ids_is_refused() -> None:
    ids = {1: "sha256:abc1" + "0" * 60, 2: "sha256:abc2" + "0" * 60}
    assert find("abc1", ids) == target(1)
    with pytest.raises(AmbiguousReference, match="give more of it"):
        find("abc", ids)


ID = IDS[0]
RUNNING, STOPPED = Use("de812a3f6b9b" + "0" * 52, True), Use("de812a3f6b9b" + "0" * 52, False)


def remove(names: list[str], given: str, *uses: Use, force: bool = False) -> Removal:
    wanted = None if given == "ID" else reference.parse(given).tagged()
    return removal.plan(ID, [name(each) for each in names], given, wanted, uses, force=force)


DIGEST = f"a@{target(0).digest}"


@pytest.mark.parametrize(
    ("names", "given", "untag", "delete"),
    [
        (["a"], "a", ["a"], True),
        (["a", "b"], "a", ["a"], False),
        (["a", "a:2"], "a:2", ["a:2"], False),
        (["a", DIGEST], "a", ["a", DIGEST], True),
        (["a", "a:2", DIGEST], "a", ["a"], False),
        (["a", "b", DIGEST], "a", ["a", DIGEST], False),
        (["a", DIGEST], DIGEST, [DIGEST], False),
        (["a", DIGEST], "ID", ["a", DIGEST], True),
        ([], "ID", [], True),
    ],
)
def test_removing_untags_or_deletes(names: list[str], given: str, untag: list[str], delete: bool) -> None:
    assert remove(names, given) == Removal(tuple(name(each) for each in untag), delete)


@pytest.mark.parametrize(
    ("names", "given", "uses", "text"),
    [
        (
            ["a"],
            "a",
            [STOPPED],
            'conflict: unable to remove repository reference "a" (must force) - container de812a3f6b9b is using '
            f"its referenced image {ID[7:19]}",
        ),
        (
            ["a", "b"],
            "ID",
            [],
            f"conflict: unable to delete {ID[7:19]} (must be forced) - image is referenced in multiple repositories",
        ),
        (
            ["a"],
            "ID",
            [RUNNING],
            f"conflict: unable to delete {ID[7:19]} (cannot be forced) - image is being used by running container "
            "de812a3f6b9b",
        ),
        (
            ["a"],
            "ID",
            [STOPPED],
            f"conflict: unable to delete {ID[7:19]} (must be forced) - image is being used by stopped container "
            "de812a3f6b9b",
        ),
    ],
)
def test_conflicts_in_dockers_words(names: list[str], given: str, uses: list[Use], text: str) -> None:
    with pytest.raises(Conflict) as caught:
        remove(names, given, *uses)
    assert str(caught.value) == text


def test_one_of_several_tags_goes_although_a_container_uses_the_image() -> None:
    assert remove(["a", "b"], "a", RUNNING) == Removal((name("a"),), False)


def test_force() -> None:
    assert remove(["a", "b"], "ID", STOPPED, force=True).delete
    assert remove(["a"], "a", RUNNING, force=True) == Removal((name("a"),), False)
    with pytest.raises(Conflict, match="cannot be forced"):
        remove(["a"], "ID", RUNNING, force=True)
