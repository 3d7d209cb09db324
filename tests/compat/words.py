"""Where Onggi's words are not Docker's, and which of Docker's own words have changed.

The words are those of Docker's command line 28; Debian's is 20.10. ``CHANGED`` leads from the words
of 20.10 to those of 28. ``EXPLAINED`` is what differs on purpose, by command and by what of it: a
flag, ``usage`` or ``description``. A row that makes no difference any more is found out
(test_words.py). Flags that only Onggi has need no row.
"""

from __future__ import annotations

__all__ = ["CHANGED", "EXPLAINED", "NEW_COMPLAINTS", "OTHERWISE", "SLIPS"]

_LIST, _ONE = (
    "Format output using a custom template:"
    + table
    + " 'json': Print in JSON format 'TEMPLATE': Print output using the given Go template. Refer to "
    "https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
    for table in (
        " 'table': Print output in table format with column headers (default)"
        " 'table TEMPLATE': Print output in table format using the given Go template",
        "",
    )
)
# Pattern of "COMMAND: TEXT", the text a whole one of 20.10, and what that is in 28.
CHANGED = (
    (r".*: Pretty-print \w+ using a Go template", _LIST),
    (r".*: Format the output using the given Go template", _ONE),
    (r".*: Provide filter values \(e\.g\. '(.*)'\)", r'Provide filter values (e.g. "\1")'),
    (
        r".*: (Show logs .*) \(e\.g\. (\S+)\) or relative \(e\.g\. 42m for 42 minutes\)",
        r'\1 (e.g. "\2") or relative (e.g. "42m" for 42 minutes)',
    ),
    (r"network connect: (IPv[46] address) \(e\.g\., (\S+)\)", r'\1 (e.g., "\2")'),
    (r".*: (Pull image before running) \(.*\)( .*)", r'\1 ("always", "missing", "never")\2'),
    (r".*: (Pull image before creating) \(.*\)( .*)", r'\1 ("always", "|missing", "never")\2'),
    (r"container exec: Username or UID \(format: (<.*>\])\)", r'Username or UID (format: "\1")'),
    (
        r".*: Automatically remove the container when it exits",
        "Automatically remove the container and its associated anonymous volumes when it exits",
    ),
    (r'.*: Signal to stop a container \(default "SIGTERM"\)', "Signal to stop the container"),
    (r'.*: Signal to send to the container \(default "KILL"\)', "Signal to send to the container"),
    (r"container update: (Swap limit equal to memory plus swap:) '-1' (.*)", r"\1 -1 \2"),
    (r".*: Enable IPv6 networking", "Enable or disable IPv6 address assignment"),
    (r".*: Push all tagged images in the repository", "Push all tags of an image to the repository"),
    (r".*: Return JSON for specified type", "Only inspect objects of the given type"),
    (r".*: Prune volumes", "Prune anonymous volumes"),
    (r".*: Password", "Password or Personal Access Token (PAT)"),
    (r".*: Take the password from stdin", "Take the Password or Personal Access Token (PAT) from stdin"),
    (r".*: Run a command in a new container", "Create and run a new container from an image"),
    (r".*: Run a command in a running container", "Execute a command in a running container"),
    (r".*: Pull an image or a repository from a registry", "Download an image from a registry"),
    (r".*: Push an image or a repository to a registry", "Upload an image to a registry"),
    (r".*: Remove all unused local volumes", "Remove unused local volumes"),
    (
        r".*: Log in to a Docker registry\..*",
        "Authenticate to a registry. Defaults to Docker Hub if no server is specified.",
    ),
    (r".*: Log out from a Docker registry\.(.*)", r"Log out from a registry.\1"),
)

_DAEMON = "there is no daemon whose settings could say"
_NAME = "Onggi is not Docker"
_TRUTH = "it says what Onggi does"
_NETAVARK = "netavark gives an interface no such thing"
_SEVERAL = "it may be given several times"
_PLATFORMS = "a data root of Docker's graph drivers holds one platform of an image"
_SWARM = "networks and volumes of a swarm"
_WINDOWS = "Windows only"

# By version of Docker's command line: "" is every one.
EXPLAINED = {
    "": {
        ("container run", "link-local-ip"): _NETAVARK,
        ("container create", "link-local-ip"): _NETAVARK,
        ("container diff", "usage"): "it has flags of its own",
        ("image load", "input"): "it may be a directory",
        ("image pull", "disable-content-trust"): _TRUTH,
        ("image push", "disable-content-trust"): _TRUTH,
        ("inspect", "description"): _NAME,
        ("logout", "description"): _DAEMON,
        ("network create", "config-from"): _SWARM,
        ("network create", "config-only"): _SWARM,
        ("network create", "ingress"): _SWARM,
        ("system df", "description"): _NAME,
        ("system events", "description"): "events are on record, and no server tells them",
        ("version", "description"): _NAME,
    },
    "20.10": {
        ("container stop", "time"): "called --timeout since 28, where --time is taken and not shown, as here",
        ("container restart", "time"): "as of stop",
        ("version", "kubeconfig"): "gone in 23",
        ("container update", "kernel-memory"): "taken and not shown since 23, as here",
    },
    "28": {
        **{
            (f"container {verb}", flag): _WINDOWS
            for verb in ("run", "create")
            for flag in ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops")
        },
        ("container run", "use-api-socket"): "experimental, and there is no API socket to share",
        ("container create", "use-api-socket"): "experimental, and there is no API socket to share",
        ("container start", "checkpoint"): "experimental, and needs CRIU",
        ("container start", "checkpoint-dir"): "experimental, and needs CRIU",
        ("image history", "platform"): _PLATFORMS,
        ("image inspect", "platform"): _PLATFORMS,
        ("image load", "platform"): _SEVERAL,
        ("image ls", "tree"): f"experimental; {_PLATFORMS}",
        ("image push", "platform"): _SEVERAL,
        ("image rm", "platform"): _PLATFORMS,
        ("network connect", "gw-priority"): _NETAVARK,
        ("network create", "ipv4"): "every network has IPv4 addresses",
        **{
            ("volume create", flag): _SWARM
            for flag in (
                "availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing",
                "topology-preferred", "topology-required", "type",
            )
        },
        ("volume ls", "cluster"): _SWARM,
    },
}  # fmt: skip

# Complaints about values that 20.10 words otherwise, by command and flag.
NEW_COMPLAINTS = {
    ("container run", "dns"),
    ("container run", "gpus"),
    ("container run", "sysctl"),
    ("container stop", "time"),
    ("container restart", "time"),
}
# Command lines that are answered otherwise on purpose.
OTHERWISE = {
    "image import": "docker looks at two arguments and says nothing of a third",
    "container diff": "its usage line shows that it has flags of its own",
}
# What 28.2 writes otherwise in some commands, not on purpose.
SLIPS = (
    (r"\nS?(?:Run|See) '(.*) for more information\n", r"\nRun '\1 for more information\n"),
    (r"Usage:  docker volume COMMAND\n", r"Usage:  docker volume\n"),
)
