"""The build cache: what it finds, what makes it look again, who shares it, and when it goes."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

from imagetool.build import cachekey
from imagetool.build.cache import Cache, Result, prune
from imagetool.digest import Digest
from imagetool.store import gc
from imagetool.store.store import Store
from tests.imagetool.build.kit import Builder, cached

pytestmark = pytest.mark.timeout(120)

TEXT = """
FROM busybox AS first
LABEL a=b
COPY src /src
RUN cat /src/f > /out
FROM busybox
COPY --from=first /out /out
WORKDIR /w
CMD ["x"]
"""


@pytest.fixture
def warm(box: Builder) -> Builder:
    box.write({"src/f": "content", "other": "x"})
    assert cached(box.build(TEXT, "-t", "warm").stdout) == [False] * 6
    return box


def test_a_second_build_does_nothing_and_gives_the_same_image(warm: Builder) -> None:
    made = warm("images", "-q", "warm")
    done = warm.build(TEXT, "-t", "again")
    assert cached(done.stdout) == [True] * 6
    assert warm("images", "-q", "again") == made


def test_times_and_what_is_not_copied_do_not_count(warm: Builder) -> None:
    os.utime(warm.context / "src/f", (1, 1))
    warm.write({"other": "changed"})
    assert cached(warm.build(TEXT).stdout) == [True] * 6


def test_content_counts_from_the_step_on(warm: Builder) -> None:
    warm.write({"src/f": "changed"})
    assert cached(warm.build(TEXT).stdout) == [True, False, False, False, False, False]
    warm.write({"src/f": "content"})
    assert cached(warm.build(TEXT).stdout) == [True] * 6


def test_a_mode_counts(warm: Builder) -> None:
    (warm.context / "src/f").chmod(0o600)
    assert cached(warm.build(TEXT).stdout)[:2] == [True, False]


def test_the_same_output_of_another_stage_is_the_same_step(warm: Builder) -> None:
    """What is copied decides, and not how it came about."""
    text = TEXT.replace("cat /src/f > /out", "cat /src/f > /out; echo more > /more")
    assert cached(warm.build(text).stdout) == [True, True, False, True, True, True]


def test_settings_cost_no_step_that_makes_a_layer(warm: Builder) -> None:
    text = TEXT.replace("LABEL a=b", "LABEL a=c")
    assert cached(warm.build(text).stdout) == [False, True, True, True, True, True]
    text = TEXT.replace("LABEL a=b", "ENV seen=by-run")
    assert cached(warm.build(text).stdout) == [False, True, False, True, True, True]


def test_no_cache_makes_everything_anew(warm: Builder) -> None:
    assert cached(warm.build(TEXT, "--no-cache").stdout) == [False] * 6
    assert cached(warm.build(TEXT).stdout) == [True] * 6


def test_an_argument_counts_once_it_is_declared(box: Builder) -> None:
    text = "FROM busybox\nRUN echo 1 > /1\nARG A\nRUN echo $A > /2"
    box.build(text, "--build-arg", "A=1")
    assert cached(box.build(text, "--build-arg", "A=2").stdout) == [True, True, False]
    assert cached(box.build(text, "--build-arg", "A=1").stdout) == [True, True, True]


def test_proxies_do_not_count_and_are_not_told(box: Builder) -> None:
    text = "FROM busybox\nRUN echo $HTTP_PROXY > /seen"
    made = box.image(text, "--build-arg", "HTTP_PROXY=http://user:secret@proxy")
    assert box.content(made, "seen") == b"http://user:secret@proxy\n"
    assert cached(box.build(text).stdout) == [True]
    assert "secret" not in "".join(box.history(made)) + json.dumps(box.config(made))


def test_two_builds_at_once_share_a_step(box: Builder) -> None:
    text = "FROM busybox\nRUN --mount=type=cache,target=/c echo >> /c/runs; busybox sleep 1; busybox wc -l < /c/runs"
    builds = [box.start(text, "-t", f"one{n}", name=f"f{n}") for n in range(3)]
    said = [each.communicate(timeout=60)[0] for each in builds]
    assert [each.returncode for each in builds] == [0, 0, 0]
    assert sorted(cached(text)[0] for text in said) == [False, True, True]
    assert len({box("images", "-q", f"one{n}") for n in range(3)}) == 1


def test_layers_outlive_their_image_until_the_cache_is_pruned(warm: Builder) -> None:
    warm("rmi", "warm")
    warm("image", "prune", "-f")
    assert cached(warm.build(TEXT).stdout) == [True] * 6
    warm("image", "prune", "-a", "-f")
    shown = warm("builder", "prune", "-f")
    assert shown.startswith("Build steps: ")
    assert os.listdir(warm.root / "build/steps") == []
    assert os.listdir(warm.root / "layers/sha256") == []


def test_prune_keeps_what_was_used_lately(warm: Builder) -> None:
    warm("builder", "prune", "-f", "--filter", "until=1h")
    assert cached(warm.build(TEXT).stdout) == [True] * 6
    assert "invalid filter 'since=1h'" in warm.error("builder", "prune", "-f", "--filter", "since=1h")


def test_an_image_from_elsewhere_can_be_the_cache(warm: Builder) -> None:
    text = "FROM busybox\nCOPY src /src\nRUN echo once > /once"
    made = warm.image(text, "-t", "shared")
    warm("builder", "prune", "-f")
    assert cached(warm.build(text, "--cache-from", "shared", "-t", "mine").stdout) == [True, True]
    assert warm.layers("mine") == warm.layers(made)
    warm("builder", "prune", "-f")
    assert cached(warm.build(text.replace("once >", "twice >"), "--cache-from", "shared").stdout) == [
        True,
        False,
    ]


def test_a_damaged_cache_is_an_empty_one(warm: Builder) -> None:
    for path in (warm.root / "build/steps").iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    assert cached(warm.build(TEXT).stdout) == [False] * 6
    warm("system", "prune", "-f")


def test_a_layer_that_is_gone_is_made_again(warm: Builder) -> None:
    warm("rmi", "-f", "warm")
    for path in (warm.root / "build/steps").iterdir():
        row = json.loads(path.read_bytes())
        if row["layer"]:
            (warm.root / "blobs" / row["layer"][1].replace(":", "/")).unlink(missing_ok=True)
    assert False in cached(warm.build(TEXT, "-t", "warm").stdout)
    assert warm.content("warm", "out") == b"content"


def test_a_claim_is_one_at_a_time_and_leaves_nothing(box: Builder) -> None:
    store = Store.open(str(box.root))
    order = []
    with store.lease() as lease:
        cache = Cache(store, lease)

        def second() -> None:
            with cache.claimed("0" * 64):
                order.append("second")

        thread = threading.Thread(target=second)
        with cache.claimed("0" * 64):
            thread.start()
            time.sleep(0.1)
            order.append("first")
        thread.join()
        (box.root / "build/steps" / ("2" * 64 + ".lock")).touch()  # of a build that was killed
        with cache.claimed("2" * 64):
            order.append("third")
    assert order == ["first", "second", "third"]
    assert os.listdir(store.layout.steps) == []


def test_what_is_kept_is_found_and_pruned(box: Builder) -> None:
    store = Store.open(str(box.root))
    with store.lease() as lease:
        Cache(store, lease).put("1" * 64, Result("now", content="c"))
        assert Cache(store, lease).get("1" * 64) == Result("now", content="c")
        assert Cache(store, lease, reading=False).get("1" * 64) is None
    assert list(gc.step_roots(store.layout)) == []
    assert prune(store, older=60.0) == 0
    assert prune(store) == 1


def test_keys_tell_everything_apart() -> None:
    one, two = Digest("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64)
    assert cachekey.chain([one, two]) == cachekey.extended(cachekey.chain([one]), two)
    chains = [cachekey.chain(found) for found in ((), (one,), (two,), (one, two), (two, one))]
    keys = [cachekey.layer(chain, "linux/amd64", None, {"a": 1}) for chain in chains]
    keys += [cachekey.layer(chains[0], "linux/arm64", None, {"a": 1})]
    keys += [cachekey.layer(chains[0], "linux/amd64", 0, {"a": 1})]
    keys += [cachekey.layer(chains[0], "linux/amd64", None, {"a": 2})]
    keys += [cachekey.step("x", "y", None), cachekey.step("y", "x", None), cachekey.step("x", "y", 0)]
    assert len(set(keys)) == len(keys)
    assert cachekey.layer("", "p", None, {"a": 1, "b": 2}) == cachekey.layer("", "p", None, {"b": 2, "a": 1})
