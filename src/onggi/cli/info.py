"""``onggi info``: Docker's layout; a line is true or absent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onggi.cli.gofmt import Record, go_json
from onggi.cli.session import Session
from onggi.cli.units import bytes_size

__all__ = ["run"]


def run(session: Session) -> int:
    """Facts about this engine, its store and its host."""
    fields = session.engine.system.info().to_json()
    format = session.flag("format")
    if session.flag("json") or format == "json":
        session.out.write(go_json(fields) + "\n")
    elif format:
        from onggi.cli.template import compile_template

        fields["RegistryConfig"] = Record.of("registry.ServiceConfig", fields["RegistryConfig"])
        record = Record("system.dockerInfo", list(fields), fields.__getitem__)
        session.out.write(compile_template(format)(record) + "\n")
    else:
        session.out.write("".join(f"{line}\n" for line in _lines(fields)))
    return 0


def _lines(fields: Mapping[str, Any]) -> Iterator[str]:
    yield "Client:"
    yield f" Version:    {fields['ServerVersion']}"
    yield f" Debug Mode: {_boolean(fields['Debug'])}"
    yield ""
    yield "Server:"
    yield f" Containers: {fields['Containers']}"
    for state in ("Running", "Paused", "Stopped"):
        yield f"  {state}: {fields[f'Containers{state}']}"
    yield f" Images: {fields['Images']}"
    yield f" Server Version: {fields['ServerVersion']}"
    yield f" Storage Driver: {fields['Driver']}"
    for name, value in fields["DriverStatus"]:
        yield f"  {name}: {value}"
    yield f" Logging Driver: {fields['LoggingDriver']}"
    for label, name in _CONTAINERS:
        yield f" {label}: {fields[name]}"
    yield " Plugins:"
    for kind, names in fields["Plugins"].items():
        yield f"  {kind}: {' '.join(names)}"
    yield f" Runtimes: {' '.join(fields['Runtimes'])}"
    yield f" Default Runtime: {fields['DefaultRuntime']}"
    for label, name in _HOST:
        if name in fields:
            yield f" {label}: {fields[name]}"
    yield f" Total Memory: {bytes_size(fields['MemTotal'])}"
    for label, name in _IDENTITY:
        if name in fields:
            yield f" {label}: {fields[name]}"
    yield f" Debug Mode: {_boolean(fields['Debug'])}"
    yield from _registry(fields)


_CONTAINERS = (("Cgroup Driver", "CgroupDriver"), ("Cgroup Version", "CgroupVersion"))
_HOST = (
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
)
_IDENTITY = (("Name", "Name"), ("ID", "ID"), ("Docker Root Dir", "DockerRootDir"))
_PROXIES = (("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy"))


def _registry(fields: Mapping[str, Any]) -> Iterator[str]:
    for label, name in _PROXIES:
        if name in fields:
            yield f" {label}: {fields[name]}"
    if "Username" in fields:
        yield f" Username: {fields['Username']}"
    yield f" Registry: {fields['IndexServerAddress']}"
    if fields["Labels"]:
        yield " Labels:"
        for label in fields["Labels"]:
            yield f"  {label}"
    yield f" Experimental: {_boolean(fields['ExperimentalBuild'])}"
    registries = fields["RegistryConfig"]
    yield " Insecure Registries:"
    for host, index in registries["IndexConfigs"].items():
        if not index["Secure"]:
            yield f"  {host}"
    for network in registries["InsecureRegistryCIDRs"]:
        yield f"  {network}"
    if registries["Mirrors"]:
        yield " Registry Mirrors:"
        for mirror in registries["Mirrors"]:
            yield f"  {mirror}"


def _boolean(value: bool) -> str:
    return "true" if value else "false"
