"""A seccomp profile made fit for one container: rules whose conditions do not hold are left out.

profile = { defaultAction, defaultErrnoRet?, architectures? | archMap?, syscalls: [ rule ],
            listenerPath?, listenerMetadata?, flags? }
rule    = { names: [ name ] | name, action, errnoRet?, args?, comment?, includes?, excludes? }
filter  = { caps?: [ capability ], arches?: [ architecture ], minKernel?: "major.minor" }

Architectures in filters are libseccomp's (``amd64``, ``x86``), not Go's. Source: moby
``profiles/seccomp``; OCI runtime-spec, config-linux.md "Seccomp".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from onggi.errors import InvalidArgument

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["InvalidSeccompProfile", "fit", "parse_profile"]

# GOARCH → libseccomp's name in filters, and its constant.
_ARCHITECTURES = {
    "386": ("x86", "SCMP_ARCH_X86"),
    "amd64": ("amd64", "SCMP_ARCH_X86_64"),
    "arm": ("arm", "SCMP_ARCH_ARM"),
    "arm64": ("arm64", "SCMP_ARCH_AARCH64"),
    "mips64": ("mips64", "SCMP_ARCH_MIPS64"),
    "mips64le": ("mipsel64", "SCMP_ARCH_MIPSEL64"),
    "mipsle": ("mipsel", "SCMP_ARCH_MIPSEL"),
    "ppc64": ("ppc64", "SCMP_ARCH_PPC64"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
}
_KERNEL = re.compile(r"(\d+)\.(\d+)")
_PASSED_ON = ("listenerPath", "listenerMetadata", "flags")


class InvalidSeccompProfile(InvalidArgument):
    """A profile that cannot be used, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"decoding seccomp profile failed: {reason}",
            hint="--security-opt seccomp=FILE takes a JSON profile; seccomp=unconfined turns it off",
        )


def parse_profile(text: str) -> dict[str, Any]:
    """A profile from its JSON text. Raises InvalidSeccompProfile."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidSeccompProfile(str(error)) from error
    if not isinstance(document, dict):
        raise InvalidSeccompProfile("it is not a JSON object")
    if document.get("architectures") and document.get("archMap"):
        raise InvalidSeccompProfile("both 'architectures' and 'archMap' were specified, use either")
    for rule in _rules(document):
        if rule.get("name") and rule.get("names"):
            raise InvalidSeccompProfile("both 'name' and 'names' were specified, use either")
    return document


def _rules(profile: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rules = profile.get("syscalls")
    if rules is None:
        return []
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise InvalidSeccompProfile("'syscalls' is not a list of objects")
    return rules


def fit(
    profile: Mapping[str, Any],
    *,
    capabilities: Iterable[str],
    architecture: str,
    kernel: tuple[int, int],
) -> dict[str, Any] | None:
    """``linux.seccomp`` of the runtime spec; None when the profile says nothing.

    ``capabilities`` is the container's bounding set, ``architecture`` a GOARCH, ``kernel``
    major and minor. Raises InvalidSeccompProfile.
    """
    rules = _rules(profile)
    if not profile.get("defaultAction") and not rules:
        return None
    native, constant = _ARCHITECTURES.get(architecture, ("", ""))
    conditions = _Conditions(frozenset(capabilities), native, kernel)
    fitted: dict[str, Any] = {"defaultAction": profile.get("defaultAction", "")}
    if profile.get("defaultErrnoRet") is not None:
        fitted["defaultErrnoRet"] = profile["defaultErrnoRet"]
    architectures = _architectures(profile, constant)
    if architectures:
        fitted["architectures"] = architectures
    fitted |= {key: profile[key] for key in _PASSED_ON if profile.get(key)}
    fitted["syscalls"] = [_plain(rule) for rule in rules if conditions.hold(rule)]
    return fitted


def _architectures(profile: Mapping[str, Any], constant: str) -> list[str]:
    for entry in profile.get("archMap") or ():
        if entry.get("architecture") == constant:
            return [constant, *(entry.get("subArchitectures") or ())]
    return list(profile.get("architectures") or ())


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The rule as the runtime takes it: without conditions."""
    plain: dict[str, Any] = {
        "names": list(rule.get("names") or [rule.get("name", "")]),
        "action": rule.get("action", ""),
    }
    if rule.get("errnoRet") is not None:
        plain["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        plain["args"] = [_argument(argument) for argument in rule["args"]]
    return plain


def _argument(argument: Mapping[str, Any]) -> dict[str, Any]:
    plain = {"index": argument.get("index", 0), "value": argument.get("value", 0)}
    if argument.get("valueTwo"):
        plain["valueTwo"] = argument["valueTwo"]
    return {**plain, "op": argument.get("op", "")}


class _Conditions:
    """What is so for one container on one host."""

    def __init__(self, capabilities: frozenset[str], architecture: str, kernel: tuple[int, int]) -> None:
        self._capabilities = capabilities
        self._architecture = architecture
        self._kernel = kernel

    def hold(self, rule: Mapping[str, Any]) -> bool:
        """True when nothing excludes the rule, and all that it asks for is there."""
        excludes, includes = rule.get("excludes") or {}, rule.get("includes") or {}
        return not self._excluded(excludes) and self._included(includes)

    def _excluded(self, excludes: Mapping[str, Any]) -> bool:
        return (
            self._architecture in (excludes.get("arches") or ())
            or any(name in self._capabilities for name in excludes.get("caps") or ())
            or (bool(excludes.get("minKernel")) and self._kernel >= _kernel(excludes["minKernel"]))
        )

    def _included(self, includes: Mapping[str, Any]) -> bool:
        arches = includes.get("arches")
        return (
            (not arches or self._architecture in arches)
            and all(name in self._capabilities for name in includes.get("caps") or ())
            and (not includes.get("minKernel") or self._kernel >= _kernel(includes["minKernel"]))
        )


def _kernel(text: str) -> tuple[int, int]:
    match = _KERNEL.match(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidSeccompProfile(f"minKernel {text!r} is no version like 4.8")
    return int(match[1]), int(match[2])
