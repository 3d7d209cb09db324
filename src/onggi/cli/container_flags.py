"""Flags of the commands that make containers: many, and made only when one of these is called."""

from __future__ import annotations

from onggi.cli.container_health import health_flags
from onggi.cli.flags import Flag

__all__ = ["create_flags", "run_flags"]

_CGROUPNS = (
    "Cgroup namespace to use (host|private)\n"
    "'host':    Run the container in the Docker host's cgroup namespace\n"
    "'private': Run the container in its own private cgroup namespace\n"
    "'':        Use the cgroup namespace as configured by the\n"
    "           default-cgroupns-mode option on the daemon (default)"
)


def create_flags() -> tuple[Flag, ...]:
    """``create``."""
    return (
        *_identity(),
        *_process(),
        *health_flags(),
        *_isolation(),
        *_limits(),
        *_network(),
        Flag("disable-content-trust", "bool", "Skip image verification", default=True),
        Flag("platform", "string", "Set platform if server is multi-platform capable"),
        _pull("creating"),
        Flag("quiet", "bool", "Suppress the pull output", short="q"),
    )


def run_flags() -> tuple[Flag, ...]:
    """``run``: those of ``create``, and how to be with it."""
    return (
        *(flag for flag in create_flags() if flag.name != "pull"),
        _pull("running"),
        Flag("detach", "bool", "Run container in background and print container ID", short="d"),
        Flag("detach-keys", "string", "Override the key sequence for detaching a container"),
        Flag("sig-proxy", "bool", "Proxy received signals to the process", default=True),
    )


def _pull(doing: str) -> Flag:
    # The bar before "missing" is Docker's, in its words for 'create'.
    missing = "|missing" if doing == "creating" else "missing"
    return Flag(
        "pull",
        "string",
        f'Pull image before {doing} ("always", "{missing}", "never")',
        default="missing",
        suggests=("always", "missing", "never"),
    )


def _identity() -> tuple[Flag, ...]:
    return (
        Flag(
            "annotation",
            "list",
            "Add an annotation to the container (passed through to the OCI runtime)",
            check="option",
            metavar="map",
            shown_default="map[]",
        ),
        Flag("cidfile", "string", "Write the container ID to the file", completes="file"),
        Flag("domainname", "string", "Container NIS domain name"),
        Flag("hostname", "string", "Container host name", short="h"),
        Flag("label", "list", "Set meta data on a container", short="l", check="label"),
        Flag("label-file", "list", "Read in a line delimited file of labels", completes="file"),
        Flag(
            "layer",
            "string",
            "Start from the image's layer of this number (1 is the base) or id; not recommended",
        ),
        Flag("name", "string", "Assign a name to the container"),
        Flag(
            "restart",
            "string",
            "Restart policy to apply when a container exits",
            default="no",
            suggests=("no", "on-failure", "unless-stopped", "always"),
        ),
        Flag(
            "rm",
            "bool",
            "Automatically remove the container and its associated anonymous volumes when it exits",
        ),
        Flag("runtime", "string", "Runtime to use for this container"),
    )


def _process() -> tuple[Flag, ...]:
    return (
        Flag("attach", "list", "Attach to STDIN, STDOUT or STDERR", short="a", check="attach"),
        Flag("entrypoint", "string", "Overwrite the default ENTRYPOINT of the image"),
        Flag("env", "list", "Set environment variables", short="e", check="environment"),
        Flag("env-file", "list", "Read in a file of environment variables", completes="file"),
        Flag("group-add", "list", "Add additional groups to join"),
        Flag("init", "bool", "Run an init inside the container that forwards signals and reaps processes"),
        Flag("interactive", "bool", "Keep STDIN open even if not attached", short="i"),
        Flag("log-driver", "string", "Logging driver for the container"),
        Flag("log-opt", "list", "Log driver options", check="option"),
        Flag("stop-signal", "string", "Signal to stop the container"),
        Flag("stop-timeout", "int", "Timeout (in seconds) to stop a container"),
        Flag("tty", "bool", "Allocate a pseudo-TTY", short="t"),
        Flag("user", "string", "Username or UID (format: <name|uid>[:<group|gid>])", short="u"),
        Flag("workdir", "string", "Working directory inside the container", short="w"),
    )


def _isolation() -> tuple[Flag, ...]:
    return (
        Flag("cap-add", "list", "Add Linux capabilities"),
        Flag("cap-drop", "list", "Drop Linux capabilities"),
        Flag("cgroup-parent", "string", "Optional parent cgroup for the container"),
        Flag("cgroupns", "string", _CGROUPNS, suggests=("host", "private")),
        Flag("device", "list", "Add a host device to the container", completes="file"),
        Flag(
            "device-cgroup-rule",
            "list",
            "Add a rule to the cgroup allowed devices list",
            check="device_cgroup_rule",
        ),
        Flag(
            "gpus",
            "list",
            "GPU devices to add to the container ('all' to pass all GPUs)",
            check="gpus",
            metavar="gpu-request",
        ),
        Flag("ipc", "string", "IPC mode to use", suggests=("host", "none", "private", "shareable")),
        Flag("isolation", "string", "Container isolation technology"),
        Flag("pid", "string", "PID namespace to use", suggests=("host",)),
        Flag("privileged", "bool", "Give extended privileges to this container"),
        Flag("mount", "list", "Attach a filesystem mount to the container", check="mount", metavar="mount"),
        Flag("read-only", "bool", "Mount the container's root filesystem as read only"),
        Flag("security-opt", "list", "Security Options"),
        Flag("shm-size", "string", "Size of /dev/shm", check="memory", metavar="bytes"),
        Flag("sysctl", "list", "Sysctl options", check="sysctl", metavar="map", shown_default="map[]"),
        Flag("tmpfs", "list", "Mount a tmpfs directory", check="tmpfs"),
        Flag("userns", "string", "User namespace to use", suggests=("host",)),
        Flag("uts", "string", "UTS namespace to use", suggests=("host",)),
        Flag("volume", "list", "Bind mount a volume", short="v"),
        Flag("volume-driver", "string", "Optional volume driver for the container"),
        Flag("volumes-from", "list", "Mount volumes from the specified container(s)", completes="container"),
    )


def _limits() -> tuple[Flag, ...]:
    return (
        *_block_io(),
        Flag("cpu-period", "int", "Limit CPU CFS (Completely Fair Scheduler) period"),
        Flag("cpu-quota", "int", "Limit CPU CFS (Completely Fair Scheduler) quota"),
        Flag("cpu-rt-period", "int", "Limit CPU real-time period in microseconds"),
        Flag("cpu-rt-runtime", "int", "Limit CPU real-time runtime in microseconds"),
        Flag("cpu-shares", "int", "CPU shares (relative weight)", short="c"),
        Flag("cpus", "string", "Number of CPUs", check="cpus", metavar="decimal"),
        Flag("cpuset-cpus", "string", "CPUs in which to allow execution (0-3, 0,1)"),
        Flag("cpuset-mems", "string", "MEMs in which to allow execution (0-3, 0,1)"),
        Flag("kernel-memory", "string", "Kernel memory limit", check="memory", metavar="bytes"),
        Flag("memory", "string", "Memory limit", short="m", check="memory", metavar="bytes"),
        Flag("memory-reservation", "string", "Memory soft limit", check="memory", metavar="bytes"),
        Flag(
            "memory-swap",
            "string",
            "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
            check="bytes_or_none",
            metavar="bytes",
        ),
        Flag("memory-swappiness", "int", "Tune container memory swappiness (0 to 100)", default=-1),
        Flag("oom-kill-disable", "bool", "Disable OOM Killer"),
        Flag("oom-score-adj", "int", "Tune host's OOM preferences (-1000 to 1000)"),
        Flag("pids-limit", "int", "Tune container pids limit (set -1 for unlimited)"),
        Flag("storage-opt", "list", "Storage driver options for the container"),
        Flag("ulimit", "list", "Ulimit options", check="ulimit", metavar="ulimit", shown_default="[]"),
    )


def _block_io() -> tuple[Flag, ...]:
    return (
        Flag(
            "blkio-weight",
            "string",
            "Block IO (relative weight), between 10 and 1000, or 0 to disable",
            check="weight",
            metavar="uint16",
            shown_default="0",
        ),
        Flag(
            "blkio-weight-device",
            "list",
            "Block IO weight (relative device weight)",
            check="weight_device",
            shown_default="[]",
        ),
        Flag(
            "device-read-bps",
            "list",
            "Limit read rate (bytes per second) from a device",
            check="read_rate",
            shown_default="[]",
        ),
        Flag(
            "device-read-iops",
            "list",
            "Limit read rate (IO per second) from a device",
            check="write_count",
            shown_default="[]",
        ),
        Flag(
            "device-write-bps",
            "list",
            "Limit write rate (bytes per second) to a device",
            check="read_rate",
            shown_default="[]",
        ),
        Flag(
            "device-write-iops",
            "list",
            "Limit write rate (IO per second) to a device",
            check="write_count",
            shown_default="[]",
        ),
    )


def _network() -> tuple[Flag, ...]:
    return (
        Flag("add-host", "list", "Add a custom host-to-IP mapping (host:ip)", check="extra_host"),
        Flag("dns", "list", "Set custom DNS servers", check="ip_address"),
        Flag("dns-option", "list", "Set DNS options"),
        Flag("dns-search", "list", "Set custom DNS search domains", check="domain"),
        Flag("expose", "list", "Expose a port or a range of ports"),
        Flag("ip", "string", "IPv4 address (e.g., 172.30.100.104)"),
        Flag("ip6", "string", "IPv6 address (e.g., 2001:db8::33)"),
        Flag("link", "list", "Add link to another container", completes="container"),
        Flag("mac-address", "string", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
        Flag(
            "network",
            "list",
            "Connect a container to a network",
            check="network",
            metavar="network",
            completes="network",
        ),
        Flag("network-alias", "list", "Add network-scoped alias for the container"),
        Flag("publish", "list", "Publish a container's port(s) to the host", short="p"),
        Flag("publish-all", "bool", "Publish all exposed ports to random ports", short="P"),
    )
