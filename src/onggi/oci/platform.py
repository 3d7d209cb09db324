"""Platforms, and which entry of an index fits one (docker-engine §2.6).

platform = os "/" architecture [ "/" variant ] | os | architecture
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onggi.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from onggi.oci.descriptor import Descriptor

__all__ = ["InvalidPlatform", "NoMatchingPlatform", "Platform", "choose", "select"]

_PART = re.compile(r"[A-Za-z0-9_.-]+")
_KNOWN_OS = frozenset(
    """
    aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris
    windows zos
    """.split()  # noqa: SIM905
)
_KNOWN_ARCHITECTURES = frozenset(
    """
    386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le
    mips64p32 mips64p32le ppc riscv riscv64 s390 s390x sparc sparc64 wasm
    """.split()  # noqa: SIM905
)
_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "armv8l": ("arm", "v8"),
}


class InvalidPlatform(InvalidArgument):
    """Not a platform; the message is Docker's."""


class NoMatchingPlatform(NotFound):
    """The index has nothing for the wanted platform."""

    def __init__(self, wanted: Platform, offered: Sequence[str]) -> None:
        hint = (
            f"it has {', '.join(offered)}: choose one with --platform" if offered else "it has no platforms"
        )
        super().__init__(f"no matching manifest for {wanted} in the manifest list entries", hint=hint)
        self.wanted = wanted
        self.offered = list(offered)


@dataclass(frozen=True, slots=True)
class Platform:
    """``os/architecture[/variant]`` in Go's words; normalised by :meth:`parse` and :meth:`host`."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read what a user typed; missing parts are the host's. Raises InvalidPlatform."""
        parts = text.split("/")
        if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
            raise InvalidPlatform(
                f'"{text}": invalid platform specifier', hint="e.g. linux/arm64 or linux/arm/v7"
            )
        if len(parts) == 1:
            return cls._parse_one(text, parts[0].lower())
        os_name = _normal_os(parts[0])
        return cls(os_name, *_normalise(parts[1], parts[2] if len(parts) == 3 else ""))

    @classmethod
    def _parse_one(cls, text: str, word: str) -> Platform:
        if _normal_os(word) in _KNOWN_OS:
            host = cls.host()
            return cls(_normal_os(word), host.architecture, host.variant)
        architecture, variant = _normalise(word, "")
        if architecture in _KNOWN_ARCHITECTURES:
            return cls("linux", architecture, variant)
        raise InvalidPlatform(
            f'"{text}": unknown operating system or architecture: invalid argument',
            hint="e.g. linux/arm64 or linux/arm/v7",
        )

    @classmethod
    def host(cls) -> Platform:
        """The platform of this machine."""
        machine = os.uname().machine
        architecture, variant = _normalise(machine, "")
        if architecture == "arm":
            variant = _arm_variant(machine)
        return cls("linux", architecture, variant)

    def normalised(self) -> Platform:
        """The same platform with Go's names."""
        architecture, variant = _normalise(self.architecture, self.variant)
        return Platform(_normal_os(self.os), architecture, variant, self.os_version, self.os_features)


def _normal_os(name: str) -> str:
    name = name.lower()
    return "darwin" if name == "macos" else name


def _normalise(architecture: str, variant: str) -> tuple[str, str]:
    architecture, variant = architecture.lower(), variant.lower()
    architecture, implied = _ALIASES.get(architecture, (architecture, ""))
    variant = variant or implied
    if variant.isdecimal():
        variant = f"v{variant}"
    if architecture == "arm":
        return architecture, variant or "v7"
    if architecture == "arm64" and variant in ("v8", "v8.0"):
        return architecture, ""
    if architecture == "amd64" and variant == "v1":
        return architecture, ""
    return architecture, variant


def _arm_variant(machine: str) -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            text = file.read()
    except OSError:
        text = ""
    if "ARMv6-compatible" in text:
        return "v6"
    match = re.search(r"CPU architecture\s*:\s*(\d+)", text)
    if match:
        return f"v{match[1]}"
    return _ALIASES.get(machine, ("arm", "v7"))[1] or "v7"


def select(candidates: Sequence[Descriptor], wanted: Platform, compat: str) -> list[Descriptor]:
    """The entries that fit, best first.

    ``"20.10"``: the first exact match; for arm without one, the first arm entry. Otherwise
    (23 and later): any entry in the order of preference of :func:`_preferences`; entries
    without a platform fit, last.
    """
    wanted = wanted.normalised()
    if compat == "20.10":
        return _select_exact(candidates, wanted)
    order = {entry: rank for rank, entry in enumerate(_preferences(wanted))}
    ranked = []
    for candidate in candidates:
        if candidate.platform is None:
            ranked.append((len(order), candidate))
            continue
        platform = candidate.platform.normalised()
        key = (platform.architecture, platform.variant)
        if platform.os == wanted.os and key in order:
            ranked.append((order[key], candidate))
    ranked.sort(key=lambda pair: pair[0])
    return [candidate for _, candidate in ranked]


def _select_exact(candidates: Sequence[Descriptor], wanted: Platform) -> list[Descriptor]:
    loose = None
    for candidate in candidates:
        if candidate.platform is None:
            continue
        platform = candidate.platform.normalised()
        if (platform.os, platform.architecture) != (wanted.os, wanted.architecture):
            continue
        if platform.variant == wanted.variant:
            return [candidate]
        if wanted.architecture == "arm" and loose is None:
            loose = candidate
    return [loose] if loose is not None else []


def _preferences(wanted: Platform) -> Iterator[tuple[str, str]]:
    """(architecture, variant) pairs that run on ``wanted``, best first."""
    yield wanted.architecture, wanted.variant
    level = wanted.variant.removeprefix("v")
    if wanted.architecture == "arm" and level.isdecimal():
        for lower in range(int(level) - 1, 4, -1):
            yield "arm", f"v{lower}"
    elif wanted.architecture == "arm64":
        yield from _arm64_preferences(level)
    elif wanted.architecture == "amd64":
        if level.isdecimal():
            for lower in range(int(level) - 1, 1, -1):
                yield "amd64", f"v{lower}"
            yield "amd64", ""
        yield "386", ""


def _arm64_preferences(level: str) -> Iterator[tuple[str, str]]:
    major, _, minor = level.partition(".")
    if major in ("8", "9"):
        for lower in range(int(minor or 0) - 1, 0, -1):
            yield "arm64", f"v{major}.{lower}"
        if major == "9":
            yield "arm64", "v9"
            for lower in range(min(5 + int(minor or 0), 9), 0, -1):
                yield "arm64", f"v8.{lower}"
        yield "arm64", ""
    for lower in range(8, 4, -1):
        yield "arm", f"v{lower}"


def choose(candidates: Sequence[Descriptor], wanted: Platform, compat: str) -> Descriptor:
    """The best entry. Raises NoMatchingPlatform with what is offered."""
    fitting = select(candidates, wanted, compat)
    if fitting:
        return fitting[0]
    offered = [
        str(entry.platform) for entry in candidates if entry.platform and entry.platform.os != "unknown"
    ]
    raise NoMatchingPlatform(wanted, offered)
