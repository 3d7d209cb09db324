"""Platforms, and the choice from an index: the tables of docker-engine §2.6 for both Dockers."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.oci import platform as module
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.oci.media_types import OCI_MANIFEST
from onggi.oci.platform import InvalidPlatform, NoMatchingPlatform, Platform, choose, select

ALL = ("linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "linux/amd64")
WITHOUT_V7 = ("linux/arm/v5", "linux/arm/v6", "linux/arm64/v8", "linux/amd64")
FEW = ("linux/arm/v5", "linux/arm64")


def entry(text: str) -> Descriptor:
    """An entry of an index for ``os/architecture[/variant]``, taken literally; "" names none."""
    platform = Platform(*text.split("/")) if text else None
    return Descriptor(OCI_MANIFEST, Digest.of(text.encode()), len(text), platform)


def chosen(offered: tuple[str, ...], wanted: str, compat: str) -> list[str]:
    """What fits, best first, as text."""
    found = select([entry(text) for text in offered], Platform.parse(wanted), compat)
    return [str(candidate.platform) if candidate.platform else "" for candidate in found]


# --- Docker 20.10 --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted, of_all, without_v7, of_few",
    [
        ("linux/arm", "linux/arm/v7", "linux/arm/v5", "linux/arm/v5"),
        ("linux/arm/v7", "linux/arm/v7", "linux/arm/v5", "linux/arm/v5"),
        ("linux/arm/v6", "linux/arm/v6", "linux/arm/v6", "linux/arm/v5"),
        ("linux/arm/v8", "linux/arm/v5", "linux/arm/v5", "linux/arm/v5"),
        ("linux/arm64", "linux/arm64/v8", "linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64/v8", "linux/arm64/v8", "linux/arm64"),
        ("linux/amd64/v2", None, None, None),
        ("linux/386", None, None, None),
    ],
)
def test_20_10_takes_the_first_exact_match(
    wanted: str, of_all: str | None, without_v7: str | None, of_few: str | None
) -> None:
    for offered, expected in ((ALL, of_all), (WITHOUT_V7, without_v7), (FEW, of_few)):
        found = chosen(offered, wanted, "20.10")
        assert (found[0] if found else None) == expected


def test_20_10_takes_no_entry_without_a_platform() -> None:
    assert chosen(("", "linux/amd64"), "linux/amd64", "20.10") == ["linux/amd64"]
    assert chosen(("",), "linux/amd64", "20.10") == []


# --- Docker 23 and later ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ("linux/arm", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v6", ["linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v5", ["linux/arm/v5"]),
        ("linux/arm/v8", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64", ["linux/arm64/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64/v8", ["linux/arm64/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64/v9", ["linux/arm64/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/amd64", ["linux/amd64"]),
        ("linux/amd64/v2", ["linux/amd64"]),
        ("linux/386", []),
        ("windows/amd64", []),
        ("linux/s390x", []),
    ],
)
def test_later_dockers_order_what_runs(wanted: str, expected: list[str]) -> None:
    assert chosen(ALL, wanted, "28") == expected
    assert chosen(tuple(reversed(ALL)), wanted, "28") == expected


@pytest.mark.parametrize(
    "offered, wanted, expected",
    [
        (
            ("linux/386", "linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4"),
            "linux/amd64/v3",
            ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"],
        ),
        (("linux/386", "linux/amd64/v2", "linux/amd64/v1"), "linux/amd64", ["linux/amd64/v1", "linux/386"]),
        (
            ("linux/arm64/v8.1", "linux/arm64/v9", "linux/arm64", "linux/arm64/v8.6", "linux/arm64/v9.1"),
            "linux/arm64/v9.1",
            ["linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.6", "linux/arm64/v8.1", "linux/arm64"],
        ),
        (
            ("linux/arm64/v9", "linux/arm64/v8.6", "linux/arm64/v8.5"),
            "linux/arm64/v9",
            ["linux/arm64/v9", "linux/arm64/v8.5"],
        ),
        (
            ("linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64/v8"),
            "linux/arm64/v8.1",
            ["linux/arm64/v8.1", "linux/arm64/v8"],
        ),
        (("linux/arm/v8", "linux/arm64"), "linux/arm64", ["linux/arm64", "linux/arm/v8"]),
        (("linux/riscv64", "linux/riscv64/rva22"), "linux/riscv64", ["linux/riscv64"]),
    ],
)
def test_levels_and_revisions(offered: tuple[str, ...], wanted: str, expected: list[str]) -> None:
    assert chosen(offered, wanted, "28") == expected


def test_entries_without_a_platform_fit_last() -> None:
    assert chosen(("", "linux/386", "linux/amd64"), "linux/amd64", "28") == ["linux/amd64", "linux/386", ""]


def test_attestations_never_fit() -> None:
    for compat in ("28", "20.10"):
        assert chosen(("unknown/unknown",), "linux/amd64", compat) == []


def test_equal_entries_keep_the_order_of_the_index() -> None:
    first = Descriptor(OCI_MANIFEST, Digest.of(b"1"), 1, Platform("linux", "x86_64"))
    second = Descriptor(OCI_MANIFEST, Digest.of(b"2"), 1, Platform("linux", "amd64"))
    for compat in ("28", "20.10"):
        assert select([first, second], Platform.parse("linux/amd64"), compat)[0] is first
        assert select([second, first], Platform.parse("linux/amd64"), compat)[0] is second


@given(
    st.lists(
        st.sampled_from([*ALL, "linux/386", "linux/amd64/v2", "windows/amd64", "unknown/unknown", ""]),
        max_size=6,
    ),
    st.sampled_from([*ALL, "linux/386", "linux/arm", "linux/arm64", "linux/amd64/v3"]),
    st.sampled_from(["28", "20.10"]),
)
def test_a_choice_is_made_of_the_entries_once_each(offered: list[str], wanted: str, compat: str) -> None:
    candidates = [entry(text) for text in offered]
    found = select(candidates, Platform.parse(wanted), compat)
    assert len({id(candidate) for candidate in found}) == len(found)
    assert {id(candidate) for candidate in found} <= {id(candidate) for candidate in candidates}
    exact = [
        c for c in candidates if c.platform and c.platform.normalised() == Platform.parse(wanted).normalised()
    ]
    if exact:
        assert found[0] is exact[0]


# --- nothing fits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compat", ["28", "20.10"])
@pytest.mark.parametrize("wanted", ["linux/s390x", "linux/mips64le/softfloat", "windows/amd64"])
def test_no_match_in_docker_s_words(wanted: str, compat: str) -> None:
    candidates = [entry(text) for text in (*FEW, "unknown/unknown", "")]
    if compat == "28":
        candidates.pop()
    with pytest.raises(NoMatchingPlatform) as caught:
        choose(candidates, Platform.parse(wanted), compat)
    assert str(caught.value) == f"no matching manifest for {wanted} in the manifest list entries"
    assert caught.value.offered == FEW
    assert "linux/arm/v5, linux/arm64" in caught.value.hint


def test_no_match_for_this_machine_names_it_without_its_level() -> None:
    with pytest.raises(NoMatchingPlatform) as caught:
        choose([entry("plan9/386")], None, "28")
    assert str(caught.value) == f"no matching manifest for {Platform.host()} in the manifest list entries"


# --- what users type ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, shown, normal",
    [
        ("linux/amd64", "linux/amd64", Platform("linux", "amd64")),
        ("linux/amd64/v1", "linux/amd64", Platform("linux", "amd64")),
        ("linux/amd64/v2", "linux/amd64/v2", Platform("linux", "amd64", "v2")),
        ("Linux/X86_64", "linux/amd64", Platform("linux", "amd64")),
        ("linux/x86-64", "linux/amd64", Platform("linux", "amd64")),
        ("linux/i386", "linux/386", Platform("linux", "386")),
        ("linux/arm", "linux/arm", Platform("linux", "arm", "v7")),
        ("linux/arm/7", "linux/arm/v7", Platform("linux", "arm", "v7")),
        ("linux/arm/v6", "linux/arm/v6", Platform("linux", "arm", "v6")),
        ("linux/armhf", "linux/arm", Platform("linux", "arm", "v7")),
        ("linux/armel", "linux/arm/v6", Platform("linux", "arm", "v6")),
        ("linux/arm64", "linux/arm64", Platform("linux", "arm64")),
        ("linux/arm64/v8", "linux/arm64/v8", Platform("linux", "arm64")),
        ("linux/aarch64/8", "linux/arm64/v8", Platform("linux", "arm64")),
        ("macos/arm64", "darwin/arm64", Platform("darwin", "arm64")),
        ("amd64", "linux/amd64", Platform("linux", "amd64")),
        ("armhf", "linux/arm", Platform("linux", "arm", "v7")),
        ("s390x", "linux/s390x", Platform("linux", "s390x")),
        ("linux/never-heard-of/it", "linux/never-heard-of/it", Platform("linux", "never-heard-of", "it")),
        ("windows(10.0.17763)/amd64", "windows/amd64", Platform("windows", "amd64", "", "10.0.17763")),
    ],
)
def test_parse(text: str, shown: str, normal: Platform) -> None:
    platform = Platform.parse(text)
    assert str(platform) == shown
    assert platform.normalised() == normal
    assert platform.normalised().normalised() == normal


def test_a_system_alone_is_completed_from_this_machine() -> None:
    assert Platform.parse("linux").normalised() == Platform.host().normalised()
    assert Platform.parse("windows").os == "windows"


@pytest.mark.parametrize(
    "text, reason",
    [
        ("foo", '"foo": unknown operating system or architecture: invalid argument'),
        ("linux/*", '"linux/*": wildcards not yet supported: invalid argument'),
        ("linux/amd64/v2/x", '"linux/amd64/v2/x": cannot parse platform specifier: invalid argument'),
        (
            "linux/",
            '"" is an invalid component of "linux/": platform specifier component must match '
            '"^[A-Za-z0-9_.-]+$": invalid argument',
        ),
        (
            "linux/amd 64",
            '"amd 64" is an invalid component of "linux/amd 64": platform specifier component must match '
            '"^[A-Za-z0-9_.-]+$": invalid argument',
        ),
        (
            "/amd64",
            '"" is an invalid OS component of "/amd64": OSAndVersion specifier component must match '
            '"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$": invalid argument',
        ),
    ],
)
def test_what_is_no_platform(text: str, reason: str) -> None:
    with pytest.raises(InvalidPlatform) as caught:
        Platform.parse(text)
    assert str(caught.value) == reason
    assert caught.value.text == text


@pytest.mark.parametrize("text", ["", "linux\n", "linux/amd64\n", "linux/ärm", "\x1b[31m/amd64"])
def test_nothing_else_passes_and_nothing_steers_the_terminal(text: str) -> None:
    with pytest.raises(InvalidPlatform) as caught:
        Platform.parse(text)
    assert str(caught.value).isprintable()


@given(st.text(max_size=20) | st.text("linuxarm64/v78.()", max_size=20))
def test_what_parses_is_written_and_read_back(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except InvalidPlatform:
        return
    again = Platform.parse(str(platform))
    assert (again.os, again.architecture, again.variant) == (
        platform.os,
        platform.architecture,
        platform.variant,
    )


def test_without_a_system_it_is_unknown() -> None:
    assert str(Platform("", "")) == "unknown"


# --- this machine --------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Pretend to be another machine."""

    def _machine(name: str, cpu: dict[str, str] | None = None, *, wide: bool = True) -> None:
        monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=name))
        monkeypatch.setattr(sys, "maxsize", 2**63 - 1 if wide else 2**31 - 1)
        monkeypatch.setattr(module, "_cpu_info", lambda: cpu or {})

    return _machine


@pytest.mark.parametrize(
    "name, wide, cpu, expected",
    [
        ("x86_64", True, {}, "linux/amd64"),
        ("x86_64", False, {}, "linux/386"),
        ("i686", False, {}, "linux/386"),
        ("aarch64", True, {"cpu architecture": "8"}, "linux/arm64/v8"),
        ("aarch64", True, {}, "linux/arm64/v8"),
        ("aarch64", False, {"cpu architecture": "8"}, "linux/arm/v8"),
        ("armv7l", False, {"cpu architecture": "7"}, "linux/arm/v7"),
        ("armv7l", False, {"cpu architecture": "?(12)"}, "linux/arm/v7"),
        ("armv7l", False, {}, "linux/arm/v7"),
        (
            "armv6l",
            False,
            {"cpu architecture": "7", "model name": "ARMv6-compatible processor rev 7 (v6l)"},
            "linux/arm/v6",
        ),
        ("armv6l", False, {"cpu architecture": "6TEJ"}, "linux/arm/v6"),
        ("armv5tel", False, {"cpu architecture": "5TE"}, "linux/arm/v5"),
        ("ppc64le", True, {}, "linux/ppc64le"),
        ("s390x", True, {}, "linux/s390x"),
        ("riscv64", True, {}, "linux/riscv64"),
        ("loongarch64", True, {}, "linux/loong64"),
    ],
)
def test_hosts(machine, name: str, wide: bool, cpu: dict[str, str], expected: str) -> None:
    machine(name, cpu, wide=wide)
    assert str(Platform.host()) == expected


V2 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    "flags, expected",
    [
        ("", "linux/amd64"),
        ("sse2 fpu", "linux/amd64"),
        (V2, "linux/amd64/v2"),
        (V2.replace("pni ", ""), "linux/amd64"),
        (V3, "linux/amd64/v3"),
        (V3.replace(" popcnt", ""), "linux/amd64"),
        (V4, "linux/amd64/v4"),
    ],
)
def test_levels_of_x86_64(machine, flags: str, expected: str) -> None:
    machine("x86_64", {"flags": flags})
    assert str(Platform.most_capable().normalised()) == expected
    assert str(Platform.host()) == "linux/amd64"


def test_a_pull_without_a_platform_uses_all_the_processor_can(machine) -> None:
    machine("x86_64", {"flags": V3})
    offered = [entry(text) for text in ("linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4")]
    assert str(choose(offered, None, "28").platform) == "linux/amd64/v3"
    assert str(choose(offered, None, "20.10").platform) == "linux/amd64"
    assert str(choose(offered, Platform.parse("linux/amd64"), "28").platform) == "linux/amd64"


def test_a_64_bit_arm_also_runs_32_bit_images(machine) -> None:
    machine("aarch64", {"cpu architecture": "8"})
    assert str(choose([entry("linux/arm/v6"), entry("linux/arm/v7")], None, "28").platform) == "linux/arm/v7"


def test_the_processor_of_this_machine_can_be_read() -> None:
    if not os.path.exists("/proc/cpuinfo"):
        pytest.fail("no /proc/cpuinfo on the host of the tests")
    assert module._cpu_info()
