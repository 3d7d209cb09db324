"""Platforms, and which entry of an index fits one (docker-engine §2.6; containerd/platforms).

platform  = system | architecture | system "/" architecture [ "/" variant ]
system    = word [ "(" version ")" ]
word      = { letter | digit | "_" | "-" }+         architecture, variant, version: also "."
"""

from __future__ import annotations

import os
import re
import sys

from onggi.errors import InvalidArgument, NotFound
from onggi.oci.quoting import quoted
from onggi.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onggi.oci.descriptor import Descriptor

__all__ = ["InvalidPlatform", "NoMatchingPlatform", "Platform", "choose", "fits", "select"]

_PART = r"^[A-Za-z0-9_.-]+$"
_SYSTEM = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?$"
# Go's lists: what a single word can be.
_SYSTEMS = frozenset(
    """
    aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris
    windows zos
    """.split()  # noqa: SIM905
)
_ARCHITECTURES = frozenset(
    """
    386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32
    mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm
    """.split()  # noqa: SIM905
)
_X86 = ("x86_64", "i386", "i486", "i586", "i686")
# Kernel's flags that make an x86-64 level; each level needs those below it.
_AMD64_LEVELS = (
    (2, "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"),
    (3, "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"),
    (4, "avx512f avx512bw avx512cd avx512dq avx512vl"),
)
# "CPU architecture" of /proc/cpuinfo → variant.
_ARM_VERSIONS = {"8": "v8", "aarch64": "v8", "7": "v7", "7m": "v7", "6": "v6", "6tej": "v6"}
_ARM_VERSIONS |= {"5": "v5", "5t": "v5", "5te": "v5", "5tej": "v5", "4": "v4", "4t": "v4", "3": "v3"}


class InvalidPlatform(InvalidArgument):
    """Not a platform; the message is Docker's."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{reason}: invalid argument", hint="e.g. linux/arm64 or linux/arm/v7")
        self.text = text


class NoMatchingPlatform(NotFound):
    """The index has nothing for the wanted platform."""

    def __init__(self, wanted: Platform, offered: Sequence[str]) -> None:
        hint = (
            f"it has {', '.join(offered)}: choose one with --platform" if offered else "it has no platforms"
        )
        super().__init__(f"no matching manifest for {wanted} in the manifest list entries", hint=hint)
        self.wanted = wanted
        self.offered = tuple(offered)


@record
class Platform:
    """``os/architecture[/variant]`` in Go's words.

    ``str()`` is Docker's way to write it. To compare two, compare what :meth:`normalised` gives:
    ``linux/arm64`` and ``linux/arm64/v8`` are the same platform, yet each stays as it was given.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.os:
            return "unknown"
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read what a user typed; missing parts are this host's. Raises InvalidPlatform."""
        parts = text.split("/")
        system = re.fullmatch(_SYSTEM, parts[0])
        _check_parts(text, parts, system)
        assert system is not None
        name, version = _normal_system(system[1]), system[2] or ""
        if len(parts) == 1:
            return cls._parse_word(text, name, version)
        architecture, variant = _normal_architecture(parts[1], parts[2] if len(parts) == 3 else "")
        if len(parts) == 2:
            variant = "" if (architecture, variant) == ("arm", "v7") else variant
        elif architecture == "arm64":
            variant = variant or "v8"
        return cls(name, architecture, variant, version)

    @classmethod
    def _parse_word(cls, text: str, system: str, version: str) -> Platform:
        if system in _SYSTEMS:
            host = cls.host()
            variant = host.variant if host.architecture == "arm" and host.variant != "v7" else ""
            return cls(system, host.architecture, variant, version)
        architecture, variant = _normal_architecture(text, "")
        if architecture not in _ARCHITECTURES:
            raise InvalidPlatform(text, f"{quoted(text)}: unknown operating system or architecture")
        return cls("linux", architecture, "" if (architecture, variant) == ("arm", "v7") else variant)

    @classmethod
    def host(cls) -> Platform:
        """The platform of this machine, as Docker names it."""
        machine = os.uname().machine
        # A 64-bit kernel may run a 32-bit system (Raspberry Pi OS does): images must fit the latter.
        wide = sys.maxsize > 2**32
        if machine.startswith(("arm", "aarch64")):
            architecture = "arm64" if wide else "arm"
            return cls("linux", architecture, _arm_variant(machine, architecture, _cpu_info()))
        if machine in _X86:
            return cls("linux", "amd64" if wide else "386")
        if machine.startswith("mips") and sys.byteorder == "little":
            return cls("linux", f"{machine}le")
        return cls("linux", "loong64" if machine == "loongarch64" else machine)

    @classmethod
    def most_capable(cls) -> Platform:
        """This machine with all its processor can do: on x86-64 the level, ``linux/amd64/v3``."""
        host = cls.host()
        if host.architecture != "amd64":
            return host
        return cls("linux", "amd64", f"v{_amd64_level(_cpu_info().get('flags', ''))}")

    def normalised(self) -> Platform:
        """The same platform in the one spelling that compares."""
        architecture, variant = _normal_architecture(self.architecture, self.variant)
        return Platform(_normal_system(self.os), architecture, variant, self.os_version, self.os_features)


def _check_parts(text: str, parts: Sequence[str], system: re.Match[str] | None) -> None:
    if "*" in text:
        raise InvalidPlatform(text, f"{quoted(text)}: wildcards not yet supported")
    if system is None:
        raise InvalidPlatform(
            text,
            f"{quoted(parts[0])} is an invalid OS component of {quoted(text)}: "
            f"OSAndVersion specifier component must match {quoted(_SYSTEM)}",
        )
    for part in parts[1:4]:
        if not re.fullmatch(_PART, part):
            raise InvalidPlatform(
                text,
                f"{quoted(part)} is an invalid component of {quoted(text)}: "
                f"platform specifier component must match {quoted(_PART)}",
            )
    if len(parts) > 3:
        raise InvalidPlatform(text, f"{quoted(text)}: cannot parse platform specifier")


def _normal_system(name: str) -> str:
    name = name.lower() or "linux"
    return "darwin" if name == "macos" else name


def _normal_architecture(architecture: str, variant: str) -> tuple[str, str]:
    architecture, variant = architecture.lower(), variant.lower()
    if architecture == "i386":
        return "386", ""
    if architecture in ("x86_64", "x86-64", "amd64"):
        return "amd64", "" if variant == "v1" else variant
    if architecture in ("aarch64", "arm64"):
        same = {"8": "", "v8": "", "v8.0": "", "9": "v9", "9.0": "v9", "v9.0": "v9"}
        return "arm64", same.get(variant, variant)
    if architecture in ("armhf", "armel"):
        return "arm", "v7" if architecture == "armhf" else "v6"
    if architecture == "arm":
        return "arm", {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"}.get(variant, variant)
    return architecture, variant


# --- this machine -----------------------------------------------------------------------------


def _cpu_info() -> dict[str, str]:
    """The first processor of /proc/cpuinfo, keys in lower case; empty when there is none to read."""
    found: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, colon, value = line.partition(":")
                if colon:
                    found.setdefault(key.strip().lower(), value.strip())
                elif found:
                    break
    except OSError:
        pass
    return found


def _arm_variant(machine: str, architecture: str, cpu: dict[str, str]) -> str:
    version = cpu.get("cpu architecture", "").lower()
    if not version:  # an emulated processor: the kernel's is x86, uname says what is emulated
        version = "8" if machine == "aarch64" else machine[4:5]
    # The first Raspberry Pi reports 7 and cannot do it.
    if architecture == "arm" and version == "7":
        version = "6" if cpu.get("model name", "").lower().startswith("armv6-compatible") else "7"
    if version.startswith("?("):
        return "v7"
    return _ARM_VERSIONS.get(version, "unknown")


def _amd64_level(flags: str) -> int:
    """1 to 4: the x86-64 level that the processor's flags add up to."""
    have = set(flags.split())
    level = 1
    for candidate, needed in _AMD64_LEVELS:
        if not have.issuperset(needed.split()):
            break
        level = candidate
    return level


# --- choosing ---------------------------------------------------------------------------------


def select(candidates: Sequence[Descriptor], wanted: Platform | None, compat: str) -> list[Descriptor]:
    """The entries of an index that fit, best first. ``wanted`` None is this machine.

    ``"20.10"``: exact matches in the index's order; for arm without one, every arm entry. Later
    Dockers: all that run on ``wanted``, in the order of :func:`_preferences`; an entry that names
    no platform fits, last.
    """
    if compat == "20.10":
        return _select_exact(candidates, (wanted or Platform.host()).normalised())
    target = (wanted or Platform.most_capable()).normalised()
    order = {pair: rank for rank, pair in reversed(list(enumerate(_preferences(target))))}
    ranked: list[tuple[int, Descriptor]] = []
    for candidate in candidates:
        rank = _rank(candidate.platform, target.os, order)
        if rank is not None:
            ranked.append((rank, candidate))
    ranked.sort(key=lambda pair: pair[0])
    return [candidate for _, candidate in ranked]


def _rank(platform: Platform | None, system: str, order: dict[tuple[str, str], int]) -> int | None:
    if platform is None:
        return len(order)
    platform = platform.normalised()
    return order.get((platform.architecture, platform.variant)) if platform.os == system else None


def fits(image: Platform, wanted: Platform) -> bool:
    """True when an image for ``image`` runs on ``wanted``."""
    target, own = wanted.normalised(), image.normalised()
    return own.os == target.os and (own.architecture, own.variant) in _preferences(target)


def _select_exact(candidates: Sequence[Descriptor], wanted: Platform) -> list[Descriptor]:
    key = (wanted.os, wanted.architecture, wanted.variant)
    exact, loose = [], []
    for candidate in candidates:
        if candidate.platform is None:
            continue
        platform = candidate.platform.normalised()
        if (platform.os, platform.architecture, platform.variant) == key:
            exact.append(candidate)
        elif (platform.os, platform.architecture) == key[:2]:
            loose.append(candidate)
    return exact or (loose if wanted.architecture == "arm" else [])


def _preferences(wanted: Platform) -> Iterator[tuple[str, str]]:
    """(architecture, variant) pairs that run on ``wanted``, normalised, best first."""
    yield wanted.architecture, wanted.variant
    if wanted.architecture == "arm":
        yield from _older_arm(wanted.variant)
    elif wanted.architecture == "arm64":
        yield from _older_arm64(wanted.variant)
    elif wanted.architecture == "amd64":
        for level in range(_number(wanted.variant) - 1, 0, -1):
            yield "amd64", "" if level == 1 else f"v{level}"
        yield "386", ""


def _older_arm(variant: str) -> Iterator[tuple[str, str]]:
    for version in range(_number(variant) - 1, 4, -1):
        yield "arm", f"v{version}"


def _older_arm64(variant: str) -> Iterator[tuple[str, str]]:
    major, _, minor = (variant or "v8").partition(".")
    version, revision = _number(major), _number(minor) if len(minor) == 1 else 0
    if version == 9:
        for lower in range(revision - 1, -1, -1):
            yield "arm64", f"v9.{lower}" if lower else "v9"
        # v9.0 came from v8.5, so v9.x can do all of v8.(x+5).
        version, revision = 8, revision + 6
    if version >= 8:
        for lower in range(revision - 1, -1, -1):
            yield "arm64", f"v{version}.{lower}" if lower else _normal_architecture("arm64", f"v{version}")[1]
    arm = "v8" if variant == "" or variant.startswith(("v8.", "v9.")) else variant
    yield "arm", arm
    yield from _older_arm(arm)


def _number(variant: str) -> int:
    """The number of ``v7`` or ``7``; 0 for what is none, so that nothing older is looked for."""
    digits = variant.removeprefix("v")
    return int(digits) if len(digits) in (1, 2) and digits.isascii() and digits.isdecimal() else 0


def choose(candidates: Sequence[Descriptor], wanted: Platform | None, compat: str) -> Descriptor:
    """The best entry; ``wanted`` None is this machine. Raises NoMatchingPlatform with what is offered."""
    fitting = select(candidates, wanted, compat)
    if fitting:
        return fitting[0]
    platforms = [entry.platform for entry in candidates if entry.platform is not None]
    offered = [str(platform) for platform in platforms if platform.os != "unknown"]
    raise NoMatchingPlatform(wanted or Platform.host(), offered)
