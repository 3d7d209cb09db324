"""Every difference from dockerd 20.10 that the suites of containers, networks and volumes let pass.

Five at most, none in an exit status or in what a command that succeeds prints. What differs from
run to run (ids, times, places, the engine's version) and what dockerd itself tells in a random
order is no difference. Each row has a witness: command lines whose last one is answered otherwise
still, so a row that nobody needs any more is found out (test_networks.py). What this kernel refuses
to dockerd is in ``cannot.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from onggi.record import record

__all__ = [
    "EXPLAINED",
    "MOST",
    "Explained",
    "without_actors",
    "without_broken_lines",
    "without_hint",
    "without_resolver",
    "without_routes",
]

MOST = 5


@record
class Explained:
    """``removed`` gives a text without the difference; ``stream`` is where it is seen."""

    what: str
    reason: str
    removed: Callable[[str], str]
    witness: Sequence[str]
    stream: str = "out"


# What the doors put before a message, and after it; Docker's daemon and runtime name themselves.
_BEFORE = re.compile(r"^(?:docker: |Error response from daemon: |Error: |onggi: )+", re.MULTILINE)
_SEE_HELP = re.compile(r"\n*(?:Run|See) '(?:docker|onggi)[^']*' for more information\n?")
_RUNTIME = re.compile(
    r"(?:failed to create shim(?: task)?: |OCI runtime (?:create|exec) failed: |runc (?:create|run) failed: "
    r"|exec failed: |unable to start container process: |(?:start|exec|resume|pause) container(?: \w+)?: )+"
)
# Which commands failed for whom, after the reasons; who went where to ask.
_AFTER = re.compile(
    r"^(?:failed to .*containers?: .*|failed to rename .*|exit status 1)(?:\n|\Z)", re.MULTILINE
)
# Once nested: a hint may speak of "(format: …)".
_HINT = re.compile(r" \([^()]*(?:\([^()]*\)[^()]*)*\)$", re.MULTILINE)


def without_actors(text: str) -> str:
    """A message without who says it, by way of whom, and where to read on."""
    return _AFTER.sub("", _RUNTIME.sub("", _SEE_HELP.sub("", _BEFORE.sub("", text.strip()))))


def without_hint(text: str) -> str:
    """A message without the way out that ends it, in parentheses."""
    return _HINT.sub("", text)


def _message(text: str) -> str:
    return without_hint(without_actors(text))


_ROUTES = re.compile(r"default via \S+ dev \w+ *(?: metric \d+ *)?\n")


def without_routes(text: str) -> str:
    """Routes without the ways out."""
    return _ROUTES.sub("", text)


def without_resolver(text: str) -> str:
    """resolv.conf without the one name server that is the engine's own."""
    return re.sub(r"(?m)^nameserver (?:127\.0\.0\.11|10\.55\.0\.1|172\.\d+\.0\.1)$", "nameserver OWN", text)


def without_broken_lines(text: str) -> str:
    """Long lines of ``x`` without their ends."""
    return re.sub(r"x{9}\n", "x" * 9, text)


_LONG = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo end"
EXPLAINED = (
    Explained(
        "messages on stderr say nothing of daemon, shim and runtime, and may end with a way out",
        "there is no daemon to name, and an error that says what to do next is worth more than an equal one",
        _message,
        ("run --rm --network nosuch box true",),
        stream="err",
    ),
    Explained(
        "names of a user-defined network are resolved at its gateway's address, not at 127.0.0.11",
        "aardvark-dns answers there for all containers; dockerd answers inside each one's namespace",
        without_resolver,
        ("network create --subnet 10.55.0.0/24 seen", "run --rm --network seen box cat /etc/resolv.conf"),
    ),
    Explained(
        "ways out of a container have a metric, all networks but internal ones have one, the same comes first",
        "netavark gives each network its route, and keeps them apart by metrics; internal ones lead nowhere",
        without_routes,
        ("network create --subnet 10.55.0.0/24 seen", "run --rm --network seen box ip route"),
    ),
    Explained(
        "a line of more than 16 KiB that a binary log keeps ends with its newline",
        "dockerd 20.10 loses it when it reads, later ones do not: output is not lost for likeness",
        without_broken_lines,
        (
            f'run --name long --network none --log-driver local box sh -c "{_LONG}"',
            "logs long",
        ),
    ),
)
