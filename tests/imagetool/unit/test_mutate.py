"""Changing images, without a store."""

import pytest

from imagetool import digest as digests
from imagetool import mediatypes, mutate
from imagetool.errors import Malformed
from imagetool.spec import Config, Descriptor, History, Manifest, Platform

LAYER = Descriptor(mediatypes.OCI_LAYER_GZIP, digests.of(b"blob"), 4)
DIFF = digests.of(b"tar")


def one_layer() -> mutate.Draft:
    base = mutate.scratch(Platform("linux", "amd64"))
    return mutate.append(base, LAYER, DIFF, History(created_by="ADD file"))


def test_appending_a_layer_and_a_step_without_one() -> None:
    image = mutate.note(one_layer(), History(created_by="CMD x"))
    image = mutate.stamped(
        mutate.with_run(image, lambda run: run._replace(cmd=("x",))), "2024-01-01T00:00:00Z", "me"
    )
    rendered = mutate.render(image)
    config = Config.parse(rendered.config)
    assert (config.diff_ids, config.run.cmd, config.author) == ((DIFF,), ("x",), "me")
    assert [step.empty_layer for step in config.history] == [False, True]
    manifest = Manifest.parse(rendered.manifest)
    assert manifest.config.digest == rendered.image_id == digests.of(rendered.config)
    assert manifest.layers == (LAYER,)
    assert mutate.render(image) == rendered


def test_a_base_without_history_is_filled_up() -> None:
    bare = one_layer()
    bare = bare._replace(config=bare.config._replace(history=()))
    grown = mutate.append(bare, LAYER, DIFF, History(created_by="x"))
    assert [step.created_by for step in grown.config.history] == ["", "x"]


def test_converting_keeps_the_image_id() -> None:
    image = one_layer()
    docker = mutate.convert(image, docker=True)
    assert mutate.render(docker).image_id == mutate.render(image).image_id
    assert docker.layers[0].media_type == mediatypes.DOCKER_LAYER_GZIP
    assert mutate.convert(docker, docker=False) == image
    odd = mutate.replace_layers(image, [LAYER._replace(media_type="application/wasm")])
    with pytest.raises(Malformed):
        mutate.convert(odd, docker=True)


def test_layers_and_diff_ids_must_fit() -> None:
    image = one_layer()
    manifest = Manifest.parse(mutate.render(image).manifest)
    with pytest.raises(Malformed, match="1 layers and 0 diff IDs"):
        mutate.draft(manifest, image.config._replace(diff_ids=()))
