"""The rows of the command table for networks."""

from __future__ import annotations

from onggi.cli.command import Command
from onggi.cli.flags import Flag
from onggi.cli.table_flags import (
    NONE,
    ONE,
    SOME,
    TWO,
    filter_flag,
    json_flag,
    list_format,
    one_format,
    quiet,
)

__all__ = ["network_commands"]


def network_commands() -> tuple[Command, ...]:
    """The rows."""
    return (*_changing(), *_joining(), *_looking())


def _map(name: str, help: str, short: str = "") -> Flag:
    return Flag(name, "list", help, short=short, check="option", metavar="map", shown_default="map[]")


def _changing() -> tuple[Command, ...]:
    return (
        Command(
            "network create",
            usage="[OPTIONS] NETWORK",
            short="Create a network",
            run="networks:create",
            arity=ONE,
            flags=(
                Flag("attachable", "bool", "Enable manual container attachment"),
                _map("aux-address", "Auxiliary IPv4 or IPv6 addresses used by Network driver"),
                Flag("driver", "string", "Driver to manage the Network", short="d", default="bridge"),
                Flag("gateway", "strings", "IPv4 or IPv6 Gateway for the master subnet"),
                Flag("internal", "bool", "Restrict external access to the network"),
                Flag("ip-range", "strings", "Allocate container ip from a sub-range"),
                Flag("ipam-driver", "string", "IP Address Management Driver", default="default"),
                _map("ipam-opt", "Set IPAM driver specific options"),
                Flag("ipv6", "bool", "Enable or disable IPv6 address assignment"),
                Flag("label", "list", "Set metadata on a network"),
                _map("opt", "Set driver specific options", short="o"),
                Flag("scope", "string", "Control the network's scope"),
                Flag("subnet", "strings", "Subnet in CIDR format that represents a network segment"),
            ),
        ),
        Command(
            "network rm",
            usage="NETWORK [NETWORK...]",
            short="Remove one or more networks",
            run="networks:remove",
            arity=SOME,
            synonyms=("remove",),
            completes="network",
            flags=(Flag("force", "bool", "Do not error if the network does not exist", short="f"),),
        ),
        Command(
            "network prune",
            usage="[OPTIONS]",
            short="Remove all unused networks",
            run="networks:prune",
            arity=NONE,
            flags=(
                filter_flag('Provide filter values (e.g. "until=<timestamp>")', short=""),
                Flag("force", "bool", "Do not prompt for confirmation", short="f"),
                json_flag("Print what was removed as JSON"),
            ),
        ),
    )


def _joining() -> tuple[Command, ...]:
    return (
        Command(
            "network connect",
            usage="[OPTIONS] NETWORK CONTAINER",
            short="Connect a container to a network",
            run="networks:connect",
            arity=TWO,
            completes="network",
            flags=(
                Flag("alias", "strings", "Add network-scoped alias for the container"),
                Flag("driver-opt", "strings", "driver options for the network"),
                Flag("ip", "string", 'IPv4 address (e.g., "172.30.100.104")'),
                Flag("ip6", "string", 'IPv6 address (e.g., "2001:db8::33")'),
                Flag("link", "list", "Add link to another container"),
                Flag("link-local-ip", "strings", "Add a link-local address for the container"),
            ),
        ),
        Command(
            "network disconnect",
            usage="[OPTIONS] NETWORK CONTAINER",
            short="Disconnect a container from a network",
            run="networks:disconnect",
            arity=TWO,
            completes="network",
            flags=(Flag("force", "bool", "Force the container to disconnect from a network", short="f"),),
        ),
    )


def _looking() -> tuple[Command, ...]:
    return (
        Command(
            "network ls",
            usage="[OPTIONS]",
            short="List networks",
            run="networks:list_networks",
            arity=NONE,
            synonyms=("list",),
            flags=(
                filter_flag('Provide filter values (e.g. "driver=bridge")'),
                list_format(),
                json_flag(),
                Flag("no-trunc", "bool", "Do not truncate the output"),
                quiet("Only display network IDs"),
            ),
        ),
        Command(
            "network inspect",
            usage="[OPTIONS] NETWORK [NETWORK...]",
            short="Display detailed information on one or more networks",
            run="inspect:run_network",
            arity=SOME,
            completes="network",
            flags=(
                one_format(),
                json_flag("Print the JSON array (default)"),
                Flag("verbose", "bool", "Verbose output for diagnostics", short="v"),
            ),
        ),
    )
