"""What `inspect` shows of an image, in the shape of Docker's API (`GET /images/NAME/json`)."""

from __future__ import annotations

from imagetool import reference
from imagetool.look.history import layer_size
from imagetool.spec import Config
from imagetool.store.read import Image
from imagetool.store.store import Store
from unionfs.annotations import Any

Json = Any


def document(store: Store, image: Image) -> dict[str, Json]:
    """Lists and maps that the image does not have are None, as Docker's are null."""
    config = image.config
    names = [reference.parse(name) for name in store.names(image.id)]
    steps = config.history
    return {
        "Id": image.id,
        "RepoTags": [name.familiar() for name in names if name.tag],
        "RepoDigests": [name.familiar() for name in names if not name.tag],
        "Parent": "",
        "Comment": steps[-1].comment if steps else "",
        "Created": config.created,
        "DockerVersion": str(config.extra.get("docker_version", "")),
        "Author": config.author,
        "Config": _run_config(config),
        "Architecture": config.platform.architecture,
        **({"Variant": config.platform.variant} if config.platform.variant else {}),
        "Os": config.platform.os,
        "Size": sum(layer_size(store, diff_id, blob.size) for blob, diff_id in image.layers()),
        "GraphDriver": {"Name": "unionfs", "Data": {"LowerDir": ":".join(store.layer_tars(image))}},
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Descriptor": image.target.to_json(),
        "History": [step.to_json() for step in steps],
    }


def _run_config(config: Config) -> dict[str, Json]:
    run = config.run
    shown: dict[str, Json] = {
        "User": run.user,
        "ExposedPorts": {port: {} for port in run.exposed_ports} or None,
        "Env": list(run.env) or None,
        "Cmd": None if run.cmd is None else list(run.cmd),
        "Volumes": {path: {} for path in run.volumes} or None,
        "WorkingDir": run.working_dir,
        "Entrypoint": None if run.entrypoint is None else list(run.entrypoint),
        "OnBuild": list(run.on_build) or None,
        "Labels": dict(run.labels) or None,
    }
    optional = {
        "StopSignal": run.stop_signal,
        "Shell": list(run.shell),
        "Healthcheck": dict(run.healthcheck),
    }
    return shown | {key: value for key, value in optional.items() if value}


LISTS = frozenset({"Env", "Cmd", "Entrypoint", "OnBuild", "Shell"})
MAPS = frozenset({"ExposedPorts", "Volumes", "Labels"})


def for_template(found: dict[str, Json]) -> dict[str, Json]:
    """With what Go prints for nil lists and maps: `[]` and `map[]`."""
    empty: dict[str, Json] = {key: [] for key in LISTS} | {key: {} for key in MAPS}
    config = {key: empty[key] if value is None else value for key, value in found["Config"].items()}
    return found | {"Config": config}
