"""``ps``: containers as rows, newest first, and what a filter keeps.

Source: moby ``daemon/list.go``, ``container/state.go`` (String); docker-engine §10.3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from onggi.engine.containers.inspection import shown_mounts, status_word, true_state
from onggi.engine.core import Core
from onggi.engine.filters import Filters, InvalidFilter
from onggi.errors import OnggiError
from onggi.oci.digest import ImageID
from onggi.oci.durations import human_duration
from onggi.oci.quoting import quoted
from onggi.oci.timestamps import to_unix
from onggi.record import field, record
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ContainerRow", "list_rows", "status_text"]

_FILTERS = (
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
)
_STATUSES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
_HEALTHS = ("none", "starting", "healthy", "unhealthy")
_BOOLEANS = ("0", "1", "false", "true", "False", "True")


@record
class ContainerRow:
    """One container as ``ps`` shows it. ``created_at`` is seconds since 1970; ``image`` its name then."""

    id: str
    name: str
    image: str
    image_id: str
    command: str
    created_at: float
    state: str
    status: str
    ports: Sequence[Mapping[str, Any]] = field(hash=False)
    labels: Mapping[str, str] = field(hash=False)
    networks: Sequence[str]
    mounts: Sequence[Mapping[str, Any]] = field(hash=False)
    network_mode: str
    stored: StoredContainer = field(repr=False, hash=False)


def list_rows(
    core: Core,
    known: Iterable[StoredContainer],
    *,
    all: bool = False,
    limit: int = 0,
    filters: Filters | None = None,
    resolve: Callable[[str], StoredContainer],
) -> list[ContainerRow]:
    """Rows of those ``known``, newest first.

    ``limit`` > 0 implies ``all``; ``resolve`` finds what before and since name.
    Raises InvalidFilter, ContainerNotFound.
    """
    wanted = dict(filters or {})
    for name in wanted:
        if name not in _FILTERS:
            raise InvalidFilter(f"invalid filter '{name}'", hint=f"known filters: {', '.join(_FILTERS)}")
    _check_values(wanted)
    names = _ImageNames(core)
    rows = [_row(core, names, stored) for stored in known]
    rows.sort(key=lambda row: (-row.created_at, row.id))
    rows = _between(rows, wanted, resolve)
    running_only = not all and limit <= 0 and "status" not in wanted and "exited" not in wanted
    rows = [
        row
        for row in rows
        if (not running_only or row.state in ("running", "paused", "restarting"))
        and _matches(core, row, wanted)
    ]
    return rows[:limit] if limit > 0 else rows


def _row(core: Core, names: _ImageNames, stored: StoredContainer) -> ContainerRow:
    document = stored.document
    state = true_state(core, stored)
    networks = sorted((document.get("NetworkSettings") or {}).get("Networks") or {})
    return ContainerRow(
        id=stored.id,
        name=stored.name,
        image=names.shown(str(stored.config.get("Image") or ""), document["Image"]),
        image_id=document["Image"],
        command=" ".join([document["Path"], *(_quoted(word) for word in document.get("Args") or ())]),
        created_at=to_unix(document["Created"]) or 0.0,
        state=status_word(state),
        status=status_text(state, time.time()),
        ports=_ports(document),
        labels=stored.config.get("Labels") or {},
        networks=networks,
        mounts=shown_mounts(core, document),
        network_mode=stored.host_config.get("NetworkMode") or "",
        stored=stored,
    )


def _quoted(word: str) -> str:
    """Docker quotes arguments with a blank in them."""
    return f"'{word}'" if " " in word else word


def _ports(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Published and exposed ports of a container that runs."""
    found: list[dict[str, Any]] = []
    settings = document.get("NetworkSettings") or {}
    for port, bindings in sorted((settings.get("Ports") or {}).items()):
        number, _, protocol = port.partition("/")
        if not bindings:
            found.append({"PrivatePort": int(number), "Type": protocol})
        found += [
            {
                "IP": binding["HostIp"],
                "PrivatePort": int(number),
                "PublicPort": int(binding["HostPort"] or 0),
                "Type": protocol,
            }
            for binding in bindings or ()
        ]
    return found


class _ImageNames:
    """How an image is shown: by the name used at creation as long as that still means it, else by id."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._means: dict[str, str] = {}

    def shown(self, name: str, image_id: str) -> str:
        """Docker's IMAGE."""
        if name not in self._means:
            self._means[name] = self._meaning(name)
        return name if self._means[name] == image_id else image_id

    def _meaning(self, name: str) -> str:
        from onggi.engine.names import find_image

        try:
            return str(find_image(self._core, name))
        except OnggiError:
            return ""


def _check_values(wanted: Filters) -> None:
    """Raises InvalidFilter in Docker's words."""
    for status in wanted.get("status", ()):
        if status not in _STATUSES:
            raise InvalidFilter(f"invalid filter 'status={status}'", hint=f"one of {', '.join(_STATUSES)}")
    for code in wanted.get("exited", ()):
        if not code.removeprefix("-").isdecimal():
            raise InvalidFilter(f'strconv.Atoi: parsing "{code}": invalid syntax', hint="exited=NUMBER")
    for health in wanted.get("health", ()):
        if health not in _HEALTHS:
            raise InvalidFilter(
                f"unrecognised filter value for health: {health}", hint=f"one of {', '.join(_HEALTHS)}"
            )
    for truth in wanted.get("is-task", ()):
        if truth not in _BOOLEANS:
            raise InvalidFilter(f"invalid filter 'is-task=[{truth}]'", hint="true or false")


# --- status ---------------------------------------------------------------------------------


def status_text(state: Mapping[str, Any], now: float) -> str:
    """Docker's sentence: ``Up 3 minutes (Paused)``, ``Exited (1) 2 hours ago``."""
    if state.get("Running"):
        return _running_text(state, now)
    if state.get("RemovalInProgress"):
        return "Removal In Progress"
    if state.get("Dead"):
        return "Dead"
    word = status_word(state)
    if word == "created":
        return "Created"
    finished = to_unix(state.get("FinishedAt"))
    if not finished or finished < 0:
        return ""
    return f"Exited ({state.get('ExitCode')}) {human_duration(now - finished)} ago"


def _running_text(state: Mapping[str, Any], now: float) -> str:
    started = to_unix(state.get("StartedAt")) or now
    if state.get("Restarting"):
        finished = to_unix(state.get("FinishedAt")) or now
        return f"Restarting ({state.get('ExitCode')}) {human_duration(now - finished)} ago"
    text = f"Up {human_duration(now - started)}"
    if state.get("Paused"):
        return f"{text} (Paused)"
    health = (state.get("Health") or {}).get("Status")
    if health and health != "none":
        return f"{text} (health: starting)" if health == "starting" else f"{text} ({health})"
    return text


# --- filters --------------------------------------------------------------------------------


def _between(
    rows: list[ContainerRow], wanted: Filters, resolve: Callable[[str], StoredContainer]
) -> list[ContainerRow]:
    """Those made before, or since, another one."""
    for name, earlier in (("before", True), ("since", False)):
        for word in wanted.get(name, ()):
            moment = to_unix(resolve(word).document["Created"]) or 0.0
            rows = [row for row in rows if (row.created_at < moment if earlier else row.created_at > moment)]
    return rows


def _matches(core: Core, row: ContainerRow, wanted: Filters) -> bool:
    """All filters, each by one of its values (labels: by all)."""
    for name, values in wanted.items():
        if name in ("before", "since"):
            continue
        test = _TESTS[name]
        results = [test(core, row, value) for value in values]
        if not (all(results) if name == "label" else any(results)):
            return False
    return True


def _has_label(core: Core, row: ContainerRow, value: str) -> bool:
    name, equals, expected = value.partition("=")
    return name in row.labels and (not equals or row.labels[name] == expected)


def _has_name(core: Core, row: ContainerRow, value: str) -> bool:
    import re

    try:
        return re.search(value, f"/{row.name}") is not None or re.search(value, row.name) is not None
    except re.error:
        return value in row.name


def _has_ancestor(core: Core, row: ContainerRow, value: str) -> bool:
    """Its image, or one that it was built on here."""
    from onggi.engine.names import find_image

    try:
        ancestor = find_image(core, value)
    except OnggiError:
        return False
    image_id: ImageID | None = ImageID(row.image_id)
    while image_id is not None and image_id != ancestor:
        image_id = core.images.parent(image_id)
    return image_id is not None


def _has_exited(core: Core, row: ContainerRow, value: str) -> bool:
    return row.state == "exited" and str(row.stored.state.get("ExitCode")) == value


def _has_volume(core: Core, row: ContainerRow, value: str) -> bool:
    return any(value in (mount.get("Name"), mount["Destination"], mount["Source"]) for mount in row.mounts)


def _has_port(row: ContainerRow, value: str, key: str, name: str) -> bool:
    number, _, protocol = value.partition("/")
    first, _, last = number.partition("-")
    if not first.isdigit():
        raise InvalidFilter(
            f"error while looking up for {name} {value}: strconv.ParseUint: parsing {quoted(value)}: "
            "invalid syntax",
            hint="a port or a range, like 80/tcp",
        )
    ports = range(int(first), int(last or first) + 1)
    return any(port.get(key) in ports and (not protocol or port["Type"] == protocol) for port in row.ports)


def _has_health(core: Core, row: ContainerRow, value: str) -> bool:
    return ((row.stored.state.get("Health") or {}).get("Status") or "none") == value


_TESTS: Mapping[str, Callable[[Core, ContainerRow, str], bool]] = {
    "ancestor": _has_ancestor,
    "exited": _has_exited,
    "expose": lambda core, row, value: _has_port(row, value, "PrivatePort", "expose"),
    "health": _has_health,
    "id": lambda core, row, value: row.id.startswith(value),
    "is-task": lambda core, row, value: value.lower() in ("false", "0"),
    "label": _has_label,
    "name": _has_name,
    "network": lambda core, row, value: value in row.networks,
    "publish": lambda core, row, value: _has_port(row, value, "PublicPort", "publish"),
    "status": lambda core, row, value: row.state == value,
    "volume": _has_volume,
}
