"""``onggi network create, rm, prune, connect, disconnect, ls``."""

from __future__ import annotations

from onggi.cli.listing import Listing
from onggi.cli.session import Failure, Session
from onggi.errors import Cancelled, NotFound, OnggiError

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onggi.network.model import Network, Subnet

__all__ = ["connect", "create", "disconnect", "list_networks", "prune", "remove"]

_COLUMNS = ("ID", "Name", "Driver", "Scope")
_SHORT = 12


def create(session: Session) -> int:
    """Make a network and print its id."""
    network = session.engine.networks.create(
        session.arguments[0],
        driver=session.flag("driver"),
        subnets=_subnets(session),
        ipv6=session.flag("ipv6"),
        internal=session.flag("internal"),
        attachable=session.flag("attachable"),
        options=dict(session.flag("opt")),
        labels=dict(_label(text) for text in session.flag("label")),
        ipam_driver=session.flag("ipam-driver"),
        ipam_options=dict(session.flag("ipam-opt")),
        scope=session.flag("scope"),
    )
    session.out.write(f"{network.id}\n")
    return 0


def _label(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _subnets(session: Session) -> list[Subnet]:
    """Each subnet with the gateway, range and addresses that lie in it.

    Source: docker/cli ``cli/command/network/create.go`` (createIPAMConfig). Raises Failure.
    """
    texts, ranges, gateways = (list(session.flag(name)) for name in ("subnet", "ip-range", "gateway"))
    if len(texts) < len(ranges) or len(texts) < len(gateways):
        raise Failure("every ip-range or gateway must have a corresponding subnet")
    if not texts:
        return []
    from onggi.record import replace

    found = _plain_subnets(texts)
    for text in ranges:
        key = _owner(found, text.partition("/")[0], f"range {text}")
        if found[key].ip_range:
            both = f"({text}, {found[key].ip_range})"
            raise Failure(f"cannot configure multiple ranges {both} on the same subnet ({key})")
        found[key] = replace(found[key], ip_range=text)
    for text in gateways:
        key = _owner(found, text, f"gateway {text}")
        if found[key].gateway:
            both = f"({text}, {found[key].gateway})"
            raise Failure(f"cannot configure multiple gateways {both} for the same subnet ({key})")
        found[key] = replace(found[key], gateway=text)
    for name, text in session.flag("aux-address"):
        key = _owner(found, text, f"aux-address {text}")
        found[key] = replace(found[key], auxiliary={**found[key].auxiliary, name: text})
    return list(found.values())


def _plain_subnets(texts: Sequence[str]) -> dict[str, Subnet]:
    from onggi.network.addresses import InvalidAddress, Prefix
    from onggi.network.model import Subnet

    found: dict[str, Subnet] = {}
    for text in texts:
        try:
            prefix = Prefix.parse(text)
        except InvalidAddress as error:
            raise Failure(f"Error: Invalid subnet {text} : {error.message}") from error
        if any(prefix.overlaps(other.prefix) for other in found.values()):
            raise Failure("multiple overlapping subnet configuration is not supported")
        found[text] = Subnet(str(prefix))
    return found


def _owner(found: Mapping[str, Subnet], address: str, what: str) -> str:
    """The subnet that an address lies in."""
    for text, subnet in found.items():
        if _holds(subnet, address):
            return text
    raise Failure(f"no matching subnet for {what}")


def _holds(subnet: Subnet, address: str) -> bool:
    try:
        return subnet.prefix.holds(address)
    except ValueError:
        return False


def remove(session: Session) -> int:
    """Remove networks; all are tried, errors are told at once."""
    failed = False
    for name in session.arguments:
        try:
            session.engine.networks.remove(name)
        except Cancelled:
            raise
        except NotFound as error:
            if not session.flag("force"):
                failed = True
                session.report(error)
            continue
        except OnggiError as error:
            failed = True
            session.report(error)
            continue
        session.out.write(f"{name}\n")
        session.out.flush()
    return int(failed)


def prune(session: Session) -> int:
    """Remove networks that no running container is in, after a question unless ``--force``."""
    warning = "WARNING! This will remove all custom networks not used by at least one container."
    if not session.flag("force") and not session.confirm(warning):
        return 0
    names = session.engine.networks.prune(session.filters)
    if session.flag("json"):
        session.write_json({"NetworksDeleted": names})
    elif names:
        lines = "".join(f"{name}\n" for name in names)
        session.out.write(f"Deleted Networks:\n{lines}\n")
    return 0


def connect(session: Session) -> int:
    """Let a container into a network."""
    network, container = session.arguments
    session.engine.networks.connect(
        network,
        container,
        ip=session.flag("ip"),
        ip6=session.flag("ip6"),
        aliases=list(session.flag("alias")),
        links=list(session.flag("link")),
        driver_opts=dict(_driver_option(text) for text in session.flag("driver-opt")),
        link_local_ips=list(session.flag("link-local-ip")),
    )
    return 0


def _driver_option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise Failure("invalid key/value pair format in driver options")
    return key.strip(), value.strip()


def disconnect(session: Session) -> int:
    """Take a container out of a network."""
    network, container = session.arguments
    session.engine.networks.disconnect(network, container, force=session.flag("force"))
    return 0


def list_networks(session: Session) -> int:
    """List networks by name."""
    networks: Sequence[Network] = session.engine.networks.list(session.filters)
    short = not session.flag("no-trunc")
    if session.flag("json"):
        session.write_json([network.to_json() for network in networks])
        return 0
    if session.flag("quiet") and session.flag("format") in ("", "table"):
        session.out.write("".join(f"{network.id[: _SHORT if short else None]}\n" for network in networks))
        return 0
    session.out.write(_listing(short=short).render(networks, session.flag("format")))
    return 0


def _listing(*, short: bool) -> Listing:
    def boolean(value: bool) -> str:
        return "true" if value else "false"

    return Listing(
        "*network.networkContext",
        {
            "ID": ("NETWORK ID", lambda network: network.id[:_SHORT] if short else network.id),
            "Name": ("NAME", lambda network: network.name),
            "Driver": ("DRIVER", lambda network: network.driver),
            "Scope": ("SCOPE", lambda network: "local"),
            "IPv4": ("IPV4", lambda network: boolean(bool(network.subnets))),
            "IPv6": ("IPV6", lambda network: boolean(network.ipv6)),
            "Internal": ("INTERNAL", lambda network: boolean(network.internal)),
            "Labels": ("LABELS", lambda network: _labels(network)),
            "CreatedAt": ("CREATED AT", lambda network: _created(network)),
        },
        _COLUMNS,
    )


def _labels(network: Network) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(network.labels.items()))


def _created(network: Network) -> str:
    """Go's ``Time.String``."""
    return network.created.replace("T", " ").replace("Z", " +0000 UTC")
