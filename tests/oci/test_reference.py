"""References: Docker's table (docker-engine §1.5) row by row, its older rules, and round trips."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.errors import InvalidArgument
from onggi.oci.digest import Digest, InvalidDigest
from onggi.oci.glob import InvalidPattern
from onggi.oci.reference import InvalidReference, Reference, glob_matches, parse_any

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"
FORMAT = "invalid reference format"
TOO_LONG = "repository name must not be more than 255 characters"


def lowercase(name: str) -> str:
    return f"invalid reference format: repository name ({name}) must be lowercase"


# input, canonical, familiar; what `docker tag IMAGE <input>` made of it (CLI 28.2.2)
ACCEPTED = [
    ("ubuntu", "docker.io/library/ubuntu", "ubuntu"),
    ("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04"),
    ("library/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
    ("docker.io/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
    ("docker.io/library/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
    ("index.docker.io/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
    ("index.docker.io/library/ubuntu:x", "docker.io/library/ubuntu:x", "ubuntu:x"),
    (
        "registry-1.docker.io/library/ubuntu",
        "registry-1.docker.io/library/ubuntu",
        "registry-1.docker.io/library/ubuntu",
    ),
    ("user/app", "docker.io/user/app", "user/app"),
    ("docker.io/user/app", "docker.io/user/app", "user/app"),
    ("a/b/c", "docker.io/a/b/c", "a/b/c"),
    ("library/a/b", "docker.io/library/a/b", "library/a/b"),
    ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
    ("localhost/app", "localhost/app", "localhost/app"),
    ("localhost:5000/app", "localhost:5000/app", "localhost:5000/app"),
    ("localhost", "docker.io/library/localhost", "localhost"),
    ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
    ("localhost:abc", "docker.io/library/localhost:abc", "localhost:abc"),
    ("foo:5000/app", "foo:5000/app", "foo:5000/app"),
    ("foo.bar/app", "foo.bar/app", "foo.bar/app"),
    ("foo.bar", "docker.io/library/foo.bar", "foo.bar"),
    ("foo.bar:tag", "docker.io/library/foo.bar:tag", "foo.bar:tag"),
    ("127.0.0.1/app", "127.0.0.1/app", "127.0.0.1/app"),
    ("[::1]/app", "[::1]/app", "[::1]/app"),
    ("[::1]:5000/app:v1", "[::1]:5000/app:v1", "[::1]:5000/app:v1"),
    ("Foo/bar", "Foo/bar", "Foo/bar"),
    ("FOO/bar/baz", "FOO/bar/baz", "FOO/bar/baz"),
    ("ubuntu:LATEST", "docker.io/library/ubuntu:LATEST", "ubuntu:LATEST"),
    ("ubuntu:_x", "docker.io/library/ubuntu:_x", "ubuntu:_x"),
    (f"ubuntu:{'t' * 128}", f"docker.io/library/ubuntu:{'t' * 128}", f"ubuntu:{'t' * 128}"),
    ("a" * 63, f"docker.io/library/{'a' * 63}", "a" * 63),
    ("a" * 65, f"docker.io/library/{'a' * 65}", "a" * 65),
    (f"ubuntu@{DIGEST}", f"docker.io/library/ubuntu@{DIGEST}", f"ubuntu@{DIGEST}"),
    (f"ubuntu:t@{DIGEST}", f"docker.io/library/ubuntu:t@{DIGEST}", f"ubuntu:t@{DIGEST}"),
    ("sha256:abc", "docker.io/library/sha256:abc", "sha256:abc"),
    (DIGEST, f"docker.io/library/{DIGEST}", DIGEST),
    ("a__b", "docker.io/library/a__b", "a__b"),
    ("a--b", "docker.io/library/a--b", "a--b"),
    ("a---b", "docker.io/library/a---b", "a---b"),
    ("a_b", "docker.io/library/a_b", "a_b"),
    ("ex-ample.com/x", "ex-ample.com/x", "ex-ample.com/x"),
    ("exa_mple.com/x", "exa_mple.com/x", "exa_mple.com/x"),
    (f"a.b/{'x' * 255}", f"a.b/{'x' * 255}", f"a.b/{'x' * 255}"),
    ("docker.io", "docker.io/library/docker.io", "docker.io"),
    ("index.docker.io", "docker.io/library/index.docker.io", "index.docker.io"),
    ("foo.bar:99999999/x", "foo.bar:99999999/x", "foo.bar:99999999/x"),
    (f"127.0.0.1:5000/a/b:v@{DIGEST}", f"127.0.0.1:5000/a/b:v@{DIGEST}", f"127.0.0.1:5000/a/b:v@{DIGEST}"),
]

REFUSED = [
    ("::1/app", FORMAT),
    ("foo/Bar", lowercase("foo/Bar")),
    ("Foo", lowercase("library/Foo")),
    ("ubuntu:.x", FORMAT),
    ("ubuntu:-x", FORMAT),
    ("ubuntu:a+b", FORMAT),
    (f"ubuntu:{'t' * 129}", FORMAT),
    ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
    ("A" * 64, lowercase(f"library/{'A' * 64}")),
    (f"ubuntu@sha256:{HEX.upper()}", "invalid checksum digest format"),
    (f"ubuntu@sha256:{HEX[1:]}", "invalid checksum digest length"),
    (f"ubuntu@sha256:{HEX}ab", "invalid checksum digest length"),
    (f"ubuntu@md5:{HEX[:32]}", "unsupported digest algorithm"),
    (f"ubuntu@sha512:{HEX}", "invalid checksum digest length"),
    (f"ubuntu@{HEX}", FORMAT),
    ("a___b", FORMAT),
    ("a._b", FORMAT),
    ("a..b", FORMAT),
    ("a-", FORMAT),
    ("-a", FORMAT),
    ("a.", FORMAT),
    ("_a", FORMAT),
    ("a//b", FORMAT),
    ("/a", FORMAT),
    ("a/", FORMAT),
    ("a:", FORMAT),
    ("a@", FORMAT),
    ("a b", FORMAT),
    ("", FORMAT),
    ("-example.com/x", FORMAT),
    ("example-.com/x", FORMAT),
    (f"x/{'a' * 254}", TOO_LONG),
    ("foo:80:90", FORMAT),
    ("foo/bar:80/baz", FORMAT),
    ("docker.io/", FORMAT),
    ("http://foo/bar", FORMAT),
    ("https://docker.io/ubuntu:x", FORMAT),
    ("ünï/x", FORMAT),
    # What lets "$", "\d" and "\w" pass in other grammars.
    ("u\n", FORMAT),
    ("u:t\n", FORMAT),
    ("u:١", FORMAT),
    ("u:é", FORMAT),
    ("foo.bar:١/x", FORMAT),
    ("u\0", FORMAT),
]


@pytest.mark.parametrize("text, canonical, familiar", ACCEPTED)
def test_accepted(text: str, canonical: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == canonical
    assert reference.familiar == familiar


@pytest.mark.parametrize("text, reason", REFUSED)
def test_refused_in_docker_s_words(text: str, reason: str) -> None:
    with pytest.raises((InvalidReference, InvalidDigest)) as caught:
        Reference.parse(text)
    assert str(caught.value) == reason
    assert "\n" not in caught.value.hint


def test_the_parts() -> None:
    reference = Reference.parse(f"localhost:5000/a/b:v@{DIGEST}")
    assert reference == Reference("localhost:5000", "a/b", "v", Digest(DIGEST))
    assert reference.name == reference.familiar_name == "localhost:5000/a/b"


def test_a_host_with_an_underscore_is_no_domain() -> None:
    assert Reference.parse("exa_mple.com/x") == Reference("", "exa_mple.com/x")


# --- Docker 20.10 --------------------------------------------------------------------------------

OLD_LOWERCASE = "invalid reference format: repository name must be lowercase"


@pytest.mark.parametrize(
    "text, reason",
    [
        ("[::1]/app", FORMAT),
        ("[::1]:5000/app:v1", FORMAT),
        ("Foo/bar", OLD_LOWERCASE),
        ("FOO/bar/baz", OLD_LOWERCASE),
        ("foo/Bar", OLD_LOWERCASE),
        ("Foo", OLD_LOWERCASE),
        (f"a.b/{'x' * 255}", TOO_LONG),
        (f"x/{'a' * 253}", TOO_LONG),
    ],
)
def test_refused_by_20_10(text: str, reason: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text, compat="20.10")
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "text, canonical, familiar",
    [row for row in ACCEPTED if not row[0].startswith(("[", "Foo", "FOO", "a.b/x"))],
)
def test_the_rest_is_accepted_by_20_10_too(text: str, canonical: str, familiar: str) -> None:
    reference = Reference.parse(text, compat="20.10")
    assert (str(reference), reference.familiar) == (canonical, familiar)


def test_the_limit_of_length() -> None:
    assert Reference.parse(f"x/{'a' * 253}").path == f"x/{'a' * 253}"
    longest = f"x/{'a' * (255 - len('docker.io/x/'))}"
    assert Reference.parse(longest, compat="20.10").path == longest
    with pytest.raises(InvalidReference, match="255"):
        Reference.parse(f"{longest}a", compat="20.10")


# --- variations ----------------------------------------------------------------------------------


def test_latest_is_added_only_to_a_bare_name() -> None:
    assert Reference.parse("ubuntu").tagged().familiar == "ubuntu:latest"
    assert Reference.parse("ubuntu:x").tagged().familiar == "ubuntu:x"
    assert Reference.parse(f"ubuntu@{DIGEST}").tagged().familiar == f"ubuntu@{DIGEST}"


def test_variations() -> None:
    reference = Reference.parse("ubuntu:x")
    assert reference.with_tag("y").familiar == "ubuntu:y"
    assert reference.with_digest(Digest(DIGEST)).familiar == f"ubuntu:x@{DIGEST}"
    assert reference.with_digest(Digest(DIGEST)).without_tag().is_name_only
    assert not reference.is_name_only


@pytest.mark.parametrize("tag", ["", ".x", "a b", "x\n", "t" * 129, "é"])
def test_a_tag_is_checked(tag: str) -> None:
    with pytest.raises(InvalidReference, match=r"^invalid tag format$"):
        Reference.parse("ubuntu").with_tag(tag)


# --- what a user may mean (§1.4.1) -----------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        (HEX, Digest(DIGEST)),
        (DIGEST, Digest(DIGEST)),
        ("8819", Reference("docker.io", "library/8819")),
        ("sha256:8819", Reference("docker.io", "library/sha256", "8819")),
        (f"ubuntu@{DIGEST}", Reference("docker.io", "library/ubuntu", None, Digest(DIGEST))),
    ],
)
def test_any_reference(text: str, expected: Digest | Reference) -> None:
    found = parse_any(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("text", ["SHA256:88", HEX.upper()])
def test_an_id_in_capitals_is_no_id(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_any(text, compat="20.10")
    assert str(caught.value) == OLD_LOWERCASE


# --- patterns --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern, text, expected",
    [
        ("ubuntu", "ubuntu:22.04", True),
        ("ubuntu:*", "ubuntu:22.04", True),
        ("ubuntu*", "ubuntu:22.04", True),
        ("*untu:22*", "ubuntu:22.04", True),
        ("ubuntu", "user/ubuntu", False),
        ("*/ubuntu", "user/ubuntu:1", True),
        ("*", "user/ubuntu", False),
        ("docker.io/library/ubuntu", "ubuntu", False),
        ("localhost:5000/*", "localhost:5000/app:v1", True),
        ("ubuntu@sha256:*", f"ubuntu@{DIGEST}", True),
        ("ubuntu:2[0-3].04", "ubuntu:22.04", True),
        ("ubuntu:2[^0-3].04", "ubuntu:22.04", False),
    ],
)
def test_patterns_match_the_familiar_string_or_name(pattern: str, text: str, expected: bool) -> None:
    assert glob_matches(pattern, Reference.parse(text)) is expected


def test_a_broken_pattern_is_an_error_even_where_the_name_already_differs() -> None:
    with pytest.raises(InvalidPattern, match=r"^syntax error in pattern$"):
        glob_matches("x[", Reference.parse("ubuntu"))


# --- round trips -------------------------------------------------------------------------------------

_alnum = st.text("abcxyz019", min_size=1, max_size=4)
_element = st.builds(
    lambda first, rest: first + "".join(separator + run for separator, run in rest),
    _alnum,
    st.lists(st.tuples(st.sampled_from([".", "_", "__", "-", "--", "---"]), _alnum), max_size=2),
)
_path = st.lists(_element, min_size=1, max_size=3).map("/".join)
_domain = st.sampled_from(
    [
        "docker.io",
        "localhost",
        "localhost:5000",
        "a.b",
        "A-b.c:80",
        "127.0.0.1:1",
        "[::1]",
        "[fe80::1]:443",
        "UP",
    ]
)
_tag = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
_digest = st.none() | st.binary(max_size=4).map(Digest.of)
references = st.builds(Reference, _domain, _path, _tag, _digest)


@given(references)
def test_the_canonical_string_names_the_reference(reference: Reference) -> None:
    parsed = Reference.parse(str(reference))
    # The one name that is rewritten: docker.io/x is docker.io/library/x.
    if reference.domain == "docker.io" and "/" not in reference.path:
        assert parsed.path == f"library/{reference.path}"
    else:
        assert parsed == reference


@given(references)
def test_both_strings_are_stable(reference: Reference) -> None:
    parsed = Reference.parse(str(reference))
    assert Reference.parse(str(parsed)) == parsed
    first, slash, _ = parsed.path.partition("/")
    # docker.io/a.b/c is shown as a.b/c, which names a registry; Docker has it so.
    if parsed.domain != "docker.io" or not slash or not ("." in first or first == "localhost"):
        assert Reference.parse(parsed.familiar) == parsed


@given(st.text(max_size=60) | st.text("aA0:/@._-[]", max_size=30))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    for compat in ("28", "20.10"):
        try:
            reference = Reference.parse(text, compat)
        except InvalidArgument as error:
            assert str(error).isprintable()
        else:
            assert str(reference).isascii()
            assert Reference.parse(str(reference), compat) == reference


def test_long_input_is_refused_at_once() -> None:
    """No pattern of the grammar backtracks: a megabyte takes no longer than a copy."""
    for text in ("a-" * 500_000, "a." * 500_000, "a/" * 500_000, "A" * 1_000_000, "a" * 1_000_000 + "!"):
        with pytest.raises(InvalidReference):
            Reference.parse(text)
