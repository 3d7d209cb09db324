"""``onggi inspect`` and ``onggi image inspect``: Docker's JSON array, or a template over each object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onggi.cli.gofmt import Record, Time, go_json, quote
from onggi.cli.session import Failure, Session
from onggi.cli.template import TemplateError, compile_template
from onggi.errors import Cancelled, InvalidArgument, NotFound, OnggiError

__all__ = ["image_record", "inspect_each", "run_any", "run_container", "run_image", "run_network"]

# What Go's structs hold where the JSON leaves a field out (API 1.50, and 1.41's half of Config).
_IMAGE_ZEROS: Mapping[str, Any] = {
    "Variant": "", "OsVersion": "", "Created": "", "Author": "", "Comment": "", "DockerVersion": "",
    "Parent": "", "Container": "", "RepoTags": [], "RepoDigests": [], "Descriptor": None, "Manifests": [],
}  # fmt: skip
_CONFIG_ZEROS: Mapping[str, Any] = {
    "User": "", "ExposedPorts": {}, "Env": [], "Entrypoint": [], "Cmd": [], "Volumes": {},
    "WorkingDir": "", "Labels": {}, "StopSignal": "", "ArgsEscaped": False, "Healthcheck": None,
    "OnBuild": [], "Shell": [],
}  # fmt: skip
_STRUCTS: Mapping[str, Mapping[str, Any]] = {
    "Config": _CONFIG_ZEROS,
    "ContainerConfig": _CONFIG_ZEROS,
    "GraphDriver": {"Data": {}},
    "RootFS": {"Layers": []},
}
_CONTAINER_STRUCTS: Mapping[str, Mapping[str, Any]] = {
    "State": {"Health": None},
    "HostConfig": {
        "StorageOpt": {},
        "Tmpfs": {},
        "Sysctls": {},
        "Annotations": {},
        "Mounts": [],
        "Init": None,
    },
    "Config": {**_CONFIG_ZEROS, "MacAddress": "", "StopTimeout": None, "NetworkDisabled": False},
    "GraphDriver": {"Data": {}},
    "NetworkSettings": {},
}


_NETWORK_ZEROS: Mapping[str, Any] = {"EnableIPv4": True, "Peers": [], "Services": {}}


class _NoSuchObject(NotFound):
    """``inspect`` knows nothing of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No such object: {name}", hint="'onggi images' and 'onggi ps -a' list what is here")


def run_image(session: Session) -> int:
    """Inspect images; errors are told after what was found, and make the status 1."""
    return inspect_each(session, lambda name: session.engine.images.get(name).inspect())


def run_container(session: Session) -> int:
    """Inspect containers."""
    return inspect_each(session, lambda name: _container(session, name))


def run_network(session: Session) -> int:
    """Inspect networks."""
    return inspect_each(session, lambda name: session.engine.networks.inspect(name))


def _container(session: Session, name: str) -> dict[str, Any]:
    return session.engine.containers.get(name).inspect(size=session.flag("size"))


def run_any(session: Session) -> int:
    """Inspect objects of any type: containers first, as Docker does, then images, networks, volumes."""
    finders: Mapping[str, Callable[[str], dict[str, Any]]] = {
        "container": lambda name: _container(session, name),
        "image": lambda name: session.engine.images.get(name).inspect(),
        "network": lambda name: session.engine.networks.inspect(name),
        "volume": lambda name: session.engine.volumes.get(name).inspect(),
    }

    wanted = session.flag("type")
    if wanted and wanted not in finders:
        known = ", ".join(quote(kind) for kind in sorted(finders))
        raise Failure(f"unknown type: {quote(wanted)}: must be one of {known}")

    def find(name: str) -> dict[str, Any]:
        if wanted:
            return finders[wanted](name)
        for finder in finders.values():
            try:
                return finder(name)
            except (NotFound, InvalidArgument):
                continue
        raise _NoSuchObject(name)

    return inspect_each(session, find)


def inspect_each(session: Session, find: Callable[[str], dict[str, Any]]) -> int:
    """Print the object of each name; errors are told after what was found, and make the status 1."""
    format = session.flag("format")
    execute = None if format in ("", "json") else compile_template(format)
    found: list[dict[str, Any]] = []
    errors: list[Exception] = []
    for name in session.arguments:
        try:
            found.append(find(name))
        except Cancelled:
            raise
        except OnggiError as error:
            errors.append(error)
    if execute is not None:
        _write_each(session, execute, found)
    elif format == "json":
        session.out.write(go_json(found) + "\n")
    else:
        session.write_json(found)
    session.out.flush()
    for failure in errors:
        session.report(failure)
    return int(bool(errors))


def _write_each(session: Session, execute: Callable[[Record], str], found: list[dict[str, Any]]) -> None:
    for document in found:
        try:
            session.out.write(execute(_record(document)) + "\n")
        except TemplateError:
            # Docker ends the line it began before it tells what is wrong.
            session.out.write("\n")
            raise
    if not found:
        session.out.write("\n")


def _record(document: Mapping[str, Any]) -> Record:
    if "State" in document:
        return _container_record(document)
    if "IPAM" in document:
        return Record.of("network.Inspect", document, _NETWORK_ZEROS)
    if "Mountpoint" in document:
        return _volume_record(document)
    return image_record(document)


def _volume_record(document: Mapping[str, Any]) -> Record:
    """A map that is nil is an empty one in a template."""
    fields = {
        name: {} if name in ("Labels", "Options") and value is None else value
        for name, value in document.items()
    }
    return Record.of("volume.Volume", fields, {"ClusterVolume": None, "Status": {}, "UsageData": None})


def _container_record(document: Mapping[str, Any]) -> Record:
    """The container as Go's structs; what has no declared fields (labels, ports) stays a map."""
    fields = dict(document)
    for name, zeros in _CONTAINER_STRUCTS.items():
        if isinstance(fields.get(name), Mapping):
            fields[name] = Record.of(name, fields[name], zeros)
    return Record.of("container.InspectResponse", fields, {"SizeRw": None, "SizeRootFs": None})


def image_record(document: Mapping[str, Any]) -> Record:
    """The object as Go's structs: fields left out of the JSON are empty, unknown ones an error."""
    fields = dict(document)
    for name, zeros in _STRUCTS.items():
        if isinstance(fields.get(name), Mapping):
            fields[name] = Record.of(name, fields[name], zeros)
    metadata = fields.get("Metadata")
    if isinstance(metadata, Mapping):
        fields["Metadata"] = Record.of("Metadata", {name: Time(text) for name, text in metadata.items()})
    return Record.of("image.InspectResponse", fields, _IMAGE_ZEROS)
