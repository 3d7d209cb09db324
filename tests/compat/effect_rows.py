"""Flags of ``run`` with an effect inside the container: one row a flag, with a command that shows it.

Rows of one batch go into one container: their flags do not meet. The same probes run in a plain
container, so that a row which shows nothing is found out.
"""

from __future__ import annotations

from onggi.record import record

__all__ = ["BATCHES", "EFFECTS", "USUAL", "Effect"]

_V1 = "/sys/fs/cgroup"


@record
class Effect:
    """``flags`` as typed; ``{disk}``, ``{files}`` are a block device and a directory of the host."""

    batch: str
    flags: str
    probe: str


def _limits(*rows: tuple[str, str]) -> list[Effect]:
    """Rows whose probe is a file of a controller."""
    return [Effect("limits", flags, f"cat {_V1}/{file}") for flags, file in rows]


def _rows(batch: str, *rows: tuple[str, str]) -> list[Effect]:
    return [Effect(batch, flags, probe) for flags, probe in rows]


_STATUS = "grep {} /proc/self/status"
EFFECTS: list[Effect] = [
    *_limits(
        ("--memory 64m", "memory/memory.limit_in_bytes"),
        ("--memory-reservation 32m", "memory/memory.soft_limit_in_bytes"),
        ("--memory-swap 128m", "memory/memory.memsw.limit_in_bytes"),
        ("--memory-swappiness 30", "memory/memory.swappiness"),
        ("--cpus 0.5", "cpu/cpu.cfs_quota_us"),
        ("--cpu-shares 77", "cpu/cpu.shares"),
        ("--cpuset-cpus 0", "cpuset/cpuset.cpus"),
        ("--pids-limit 50", "pids/pids.max"),
        ("--device-read-bps {disk}:1mb", "blkio/blkio.throttle.read_bps_device"),
        ("--device-write-bps {disk}:2mb", "blkio/blkio.throttle.write_bps_device"),
        ("--device-read-iops {disk}:10", "blkio/blkio.throttle.read_iops_device"),
        ("--device-write-iops {disk}:20", "blkio/blkio.throttle.write_iops_device"),
        ("--device-cgroup-rule 'c 42:* rm'", "devices/devices.list"),
    ),
    *_rows(
        "limits",
        ("--oom-score-adj 500", "cat /proc/self/oom_score_adj"),
        ("--ulimit nofile=100:200", "ulimit -n; ulimit -Hn"),
        ("--ulimit fsize=1048576", "ulimit -f"),
        ("--shm-size 1m", "df -k /dev/shm | tail -1"),
        ("--cgroup-parent /up", "grep pids: /proc/self/cgroup"),
        ("--tmpfs /t:size=1m,mode=700", "mount | grep ' /t '; ls -ld /t | cut -c1-10"),
    ),
    *_rows(
        "quota",
        ("--cpu-period 50000", f"cat {_V1}/cpu/cpu.cfs_period_us"),
        ("--cpu-quota 20000", f"cat {_V1}/cpu/cpu.cfs_quota_us"),
        ("--memory 8m", f"cat {_V1}/memory/memory.limit_in_bytes"),
        ("--oom-kill-disable", f"head -1 {_V1}/memory/memory.oom_control"),
        ("--cgroupns private", "cut -d: -f3 /proc/self/cgroup | sort -u"),
        ("--ipc none", "ls /dev/shm; mount | grep -c shm"),
        ("--security-opt systempaths=unconfined", "mount | grep -c ' /proc/'"),
        ("--security-opt seccomp={files}/no-mkdir.json", "mkdir /refused; echo $?"),
        ("--init", "cat /proc/1/comm"),
        ("--cap-drop ALL", _STATUS.format("CapPrm")),
        ("--network none", "ls /sys/class/net"),
    ),
    *_rows(
        "identity",
        ("-h named", "hostname; cat /etc/hostname; echo $HOSTNAME"),
        ("--domainname dom.test", "cat /proc/sys/kernel/domainname"),
        ("--add-host far:1.2.3.4", "grep far /etc/hosts"),
        ("--add-host six=::1", "grep six /etc/hosts"),
        ("--dns 9.9.9.9", "grep nameserver /etc/resolv.conf"),
        ("--dns-search x.test", "grep search /etc/resolv.conf"),
        ("--dns-option ndots:3", "grep options /etc/resolv.conf"),
        ("-e OWN=value", "echo $OWN"),
        ("--env-file {files}/environment", "echo $FILED, $CALLER, ${UNKNOWN-unset}"),
        ("-w /made/here", "pwd; ls -ld . | cut -c1-10"),
        ("--group-add 77", "id -G"),
        ("--cap-add NET_ADMIN", _STATUS.format("CapEff")),
        ("--cap-drop chown", _STATUS.format("CapBnd")),
        ("--security-opt no-new-privileges", _STATUS.format("NoNew")),
        ("--security-opt seccomp=unconfined", _STATUS.format("Seccomp:")),
        ("--sysctl net.ipv4.ip_forward=0", "cat /proc/sys/net/ipv4/ip_forward"),
        ("--sysctl kernel.msgmax=4096", "cat /proc/sys/kernel/msgmax"),
        ("--sysctl fs.mqueue.msg_max=20", "cat /proc/sys/fs/mqueue/msg_max"),
        ("--device /dev/full:/dev/x:r", "ls -l /dev/x | cut -c1-24; head -c1 /dev/x | wc -c; echo a >/dev/x"),
    ),
    *_rows(
        "user",
        ("-u user:extra", "id"),
        ("--group-add wheel", "id -Gn"),
        ("--read-only", "touch /bin/x; touch /etc/hosts; mount | grep -w / | grep -o 'ro,' | head -1"),
        ("--tmpfs /run", "mount | grep ' /run '"),
        ("--entrypoint /bin/sh", "cut -d' ' -f1 /proc/1/cmdline | tr '\\0' ' ' | cut -c1-7"),
        ("--stop-signal USR1", "true"),
    ),
    *_rows(
        "host",
        ("--pid host", "readlink /proc/self/ns/pid"),
        ("--ipc host", "readlink /proc/self/ns/ipc; mount | grep -c ' /dev/shm '"),
        ("--uts host", "readlink /proc/self/ns/uts; hostname"),
        ("--userns host", "cat /proc/self/uid_map"),
        ("--cgroupns host", "grep -c docker /proc/self/cgroup"),
        ("--isolation default", "true"),
        ("--security-opt apparmor=unconfined", "true"),
        ("--security-opt label=disable", "true"),
        ("--runtime runc", "true"),
        ("--blkio-weight 300", "true"),
        ("--cpuset-mems 0", f"cat {_V1}/cpuset/cpuset.mems"),
    ),
]
# What a container looks like that asks for what everybody has, or that this host always does.
USUAL = frozenset(
    {
        "--stop-signal USR1",
        "--userns host",
        "--cgroupns host",
        "--isolation default",
        "--security-opt apparmor=unconfined",
        "--security-opt label=disable",
        "--runtime runc",
        "--blkio-weight 300",
        "--cpuset-mems 0",
        "--network none",
    }
)
BATCHES = tuple(dict.fromkeys(row.batch for row in EFFECTS))
