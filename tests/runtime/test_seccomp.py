"""Profiles made fit, for architectures and kernels that this host is not."""

from __future__ import annotations

import pytest

from onggi.runtime.capabilities import DEFAULT
from onggi.runtime.seccomp import InvalidSeccompProfile, fit, parse_profile
from onggi.runtime.seccomp_profile import default_profile


def _allowed(
    compat: str = "28",
    capabilities: tuple[str, ...] = DEFAULT,
    architecture: str = "amd64",
    kernel: tuple[int, int] = (6, 1),
) -> dict[str, str]:
    fitted = fit(default_profile(compat), capabilities=capabilities, architecture=architecture, kernel=kernel)
    assert fitted is not None
    return {name: rule["action"] for rule in fitted["syscalls"] for name in rule["names"]}


def test_io_uring_is_refused_since_25() -> None:
    assert "io_uring_setup" in _allowed("20.10")
    assert "io_uring_setup" not in _allowed("28")


def test_a_capability_brings_its_calls() -> None:
    assert "mount" not in _allowed()
    with_admin = _allowed(capabilities=(*DEFAULT, "CAP_SYS_ADMIN"))
    assert with_admin["mount"] == with_admin["clone3"] == "SCMP_ACT_ALLOW"
    assert _allowed()["clone3"] == "SCMP_ACT_ERRNO"


def test_architectures() -> None:
    assert "arch_prctl" in _allowed()
    assert "arch_prctl" not in _allowed(architecture="arm64")
    assert "cacheflush" in _allowed(architecture="arm64")
    arm = fit(default_profile("28"), capabilities=DEFAULT, architecture="arm64", kernel=(6, 1))
    assert arm is not None
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]


def test_clone_on_s390_has_its_flags_second() -> None:
    profile = fit(default_profile("28"), capabilities=DEFAULT, architecture="s390x", kernel=(6, 1))
    assert profile is not None
    clones = [rule for rule in profile["syscalls"] if rule["names"] == ["clone"]]
    assert [rule["args"][0]["index"] for rule in clones] == [1]


def test_tracing_needs_a_kernel_where_it_cannot_get_around_seccomp() -> None:
    assert "ptrace" in _allowed(kernel=(4, 8))
    assert "ptrace" not in _allowed(kernel=(4, 7))


def test_no_call_is_listed_twice_under_one_condition() -> None:
    for rule in default_profile("28")["syscalls"]:
        assert len(rule["names"]) == len(set(rule["names"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "decoding seccomp profile failed"),
        ("[]", "not a JSON object"),
        ('{"architectures": ["x"], "archMap": [{}]}', "use either"),
        ('{"syscalls": [{"name": "a", "names": ["b"]}]}', "use either"),
        ('{"syscalls": {}}', "not a list"),
    ],
)
def test_broken_profiles(text: str, words: str) -> None:
    with pytest.raises(InvalidSeccompProfile, match=words):
        parse_profile(text)


def test_a_profile_that_says_nothing_turns_seccomp_off() -> None:
    assert fit({}, capabilities=(), architecture="amd64", kernel=(6, 1)) is None
