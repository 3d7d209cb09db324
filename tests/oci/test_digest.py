"""Ids: go-digest's rules in its words, and the worked chain of a real image (docker-engine §3)."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.oci.digest import (
    EMPTY_TAR_DIFF_ID,
    CacheID,
    ChainID,
    DiffID,
    Digest,
    Hash,
    ImageID,
    InvalidDigest,
    LinkID,
    chain_id,
    chain_ids,
    random_id,
)

HEX = "0123456789abcdef" * 4
L0 = DiffID("sha256:fc04629b1cf81012591f0592e2bd6b4b6ebd2c2812fca3a6158c0b1f3236725f")
L1 = DiffID("sha256:01c484450103b5b8b0bf7b30b0537f3e1c3698b996aacc9429a30fd4a3ecaf23")
L2 = DiffID("sha256:1f81be580c204eba117e9f931ed11a43b44daa60c678923ef192f72bdd996aeb")
C1 = "sha256:f919240cc85b8f18b84dd0c7fc851c28f6f9312588d2c8c5100ac01d86dbe8c5"
C2 = "sha256:86d99052afb1571a9ef42f36502c9cae2865247800c811852468025563062715"


def test_the_chain_of_a_real_image() -> None:
    assert chain_ids([L0, L1, L2]) == (L0, C1, C2)
    assert chain_id(None, L0) == L0
    assert chain_id(ChainID(C1), L2) == C2


def test_chain_ids_are_chain_ids() -> None:
    assert [type(chain) for chain in chain_ids([L0, L1])] == [ChainID, ChainID]
    assert chain_ids([]) == ()


@given(st.lists(st.binary(max_size=3).map(DiffID.of), max_size=5))
def test_a_chain_begins_with_the_chain_below(diffs: list[DiffID]) -> None:
    chains = chain_ids(diffs)
    assert len(chains) == len(diffs)
    assert chain_ids(diffs[:-1]) == chains[:-1]


def test_the_empty_tar_is_1024_zeros() -> None:
    assert DiffID.of(bytes(1024)) == EMPTY_TAR_DIFF_ID
    assert DiffID.of(bytes(10240)) != EMPTY_TAR_DIFF_ID


@pytest.mark.parametrize(
    "text",
    [f"sha256:{HEX}", f"sha384:{HEX}{HEX[:32]}", f"sha512:{HEX}{HEX}"],
)
def test_digests(text: str) -> None:
    digest = Digest.parse(text)
    assert digest == text
    assert f"{digest.algorithm}:{digest.hex}" == text
    assert digest.short == HEX[:12]


@pytest.mark.parametrize("kind", [ImageID, DiffID, ChainID])
def test_ids_of_docker_s_directories_are_sha256(kind: type[Hash]) -> None:
    assert type(kind.parse(f"sha256:{HEX}")) is kind
    with pytest.raises(InvalidDigest, match=r"^unsupported digest algorithm$"):
        kind.parse(f"sha512:{HEX}{HEX}")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "invalid checksum digest format"),
        ("sha256", "invalid checksum digest format"),
        ("sha256:", "invalid checksum digest format"),
        (f":{HEX}", "invalid checksum digest format"),
        (HEX, "invalid checksum digest format"),
        (f"SHA256:{HEX}", "invalid checksum digest format"),
        (f"md5+:{HEX}", "invalid checksum digest format"),
        (f"md5:{HEX}/../x", "invalid checksum digest format"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", "unsupported digest algorithm"),
        ("a+b.c_d-e:x=_-", "unsupported digest algorithm"),
        (f"sha256:{HEX[1:]}", "invalid checksum digest length"),
        (f"sha256:{HEX}a", "invalid checksum digest length"),
        (f"sha512:{HEX}", "invalid checksum digest length"),
        (f"sha256:{HEX}\n", "invalid checksum digest length"),
        (f"sha256:{HEX[1:]}\n", "invalid checksum digest format"),
        (f"sha256:{HEX.upper()}", "invalid checksum digest format"),
        (f"sha256:{'١' * 64}", "invalid checksum digest format"),
        # As long as a digest, and a way out of a directory (CVE-2024-3727).
        (f"sha256:{'../' * 21}x", "invalid checksum digest format"),
    ],
)
def test_what_is_no_digest(text: str, reason: str) -> None:
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse(text)
    assert str(caught.value) == reason
    assert caught.value.text == text


@given(st.text(max_size=80) | st.text("sha256:0af/.", min_size=60, max_size=75))
def test_what_parses_is_safe_as_a_file_name(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidDigest:
        return
    assert set(digest.hex) <= set("0123456789abcdef")


@given(st.binary(max_size=100))
def test_a_computed_id_parses(data: bytes) -> None:
    digest = Digest.of(data)
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert Digest.parse(digest) == digest
    assert type(Digest.parse(digest)) is Digest


def test_random_ids() -> None:
    drawn = {random_id() for _ in range(1000)}
    assert len(drawn) == 1000
    for text in drawn:
        assert len(text) == 64 and set(text) <= set("0123456789abcdef")
        assert not text[:12].isdecimal()


def test_names_of_layer_directories() -> None:
    assert len(CacheID.random()) == 64
    links = {LinkID.random() for _ in range(1000)}
    assert len(links) == 1000
    for link in links:
        assert len(link) == 26 and set(link) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    assert set("".join(links)) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
