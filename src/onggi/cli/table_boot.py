"""The row of the command table for what happens when the host starts and goes down."""

from __future__ import annotations

from onggi.cli.command import Command
from onggi.cli.flags import Flag
from onggi.cli.table_flags import NONE

__all__ = ["boot_commands"]


def boot_commands() -> tuple[Command, ...]:
    """The row."""
    return (
        Command(
            "system boot",
            "boot",
            usage="[OPTIONS]",
            short="Start the containers that restart with the host",
            long=(
                "Start the containers that restart with the host: those whose restart policy is always, or\n"
                "unless-stopped and nobody stopped them, or on-failure and they failed. A service calls it\n"
                "once after the host has started, since there is no daemon that would:\n\n"
                "  onggi boot --unit > /etc/systemd/system/onggi.service\n"
                "  systemctl enable --now onggi.service"
            ),
            run="boot:run",
            arity=NONE,
            flags=(
                Flag("stop", "bool", "Stop all containers instead, until the next start of the host"),
                Flag("unit", "bool", "Print the systemd unit that does both"),
            ),
        ),
    )
