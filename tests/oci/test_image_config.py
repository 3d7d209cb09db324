"""Image configs: what is read, what is refused, and that the bytes stay."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.oci.digest import ChainID, DiffID
from onggi.oci.image_config import HistoryEntry, ImageConfig, InvalidImageConfig

# docker-engine §3: the layers of foo/t1:v1 and what Docker made of them.
L0 = DiffID("sha256:fc04629b1cf81012591f0592e2bd6b4b6ebd2c2812fca3a6158c0b1f3236725f")
L1 = DiffID("sha256:01c484450103b5b8b0bf7b30b0537f3e1c3698b996aacc9429a30fd4a3ecaf23")
L2 = DiffID("sha256:1f81be580c204eba117e9f931ed11a43b44daa60c678923ef192f72bdd996aeb")
C1 = ChainID("sha256:f919240cc85b8f18b84dd0c7fc851c28f6f9312588d2c8c5100ac01d86dbe8c5")
C2 = ChainID("sha256:86d99052afb1571a9ef42f36502c9cae2865247800c811852468025563062715")

# docker-engine Appendix B, as dockerd 20.10 writes it; the long container_config is left out.
DOCKER = (
    b'{"architecture":"amd64","config":{"Hostname":"","Domainname":"","User":"","AttachStdin":false,'
    b'"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,'
    b'"Env":["PATH=/bin","X=1"],"Cmd":["sh"],"Image":"sha256:8bd6657ab68a0ae0688287245900388ebecaaad8c08cc88a2dc'
    b'125527a045704","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{"a":"b"}},'
    b'"created":"2026-11-24T01:55:06.996103851Z","docker_version":"20.10.24+dfsg1","history":['
    b'{"created":"2026-11-24T01:55:06.309680035Z","comment":"Imported from -"},'
    b'{"created":"2026-11-24T01:55:06.476606896Z","created_by":"/bin/sh -c #(nop)  LABEL a=b",'
    b'"empty_layer":true},'
    b'{"created":"2026-11-24T01:55:06.771447984Z","created_by":"/bin/sh -c echo hello \\u003e /hello '
    b'\\u0026\\u0026 rm /etc/group"},'
    b'{"created":"2026-11-24T01:55:06.865407802Z","created_by":"/bin/sh -c #(nop) COPY file:4b41 in '
    b'/data/f.txt "},'
    b'{"created":"2026-11-24T01:55:06.9Z","created_by":"/bin/sh -c #(nop)  ENV X=1","empty_layer":true}],'
    b'"os":"linux","rootfs":{"type":"layers","diff_ids":["' + f'{L0}","{L1}","{L2}'.encode() + b'"]}}'
)


def config(**fields: Any) -> bytes:
    """A config with one layer and ``fields``; a dot in a key is written as two underscores."""
    document = {"rootfs": {"type": "layers", "diff_ids": [L0]}}
    document |= {name.replace("__", "."): value for name, value in fields.items()}
    return json.dumps(document).encode()


def refusal(raw: bytes) -> str:
    with pytest.raises(InvalidImageConfig) as caught:
        ImageConfig.parse(raw)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value.message


def test_what_docker_wrote() -> None:
    image = ImageConfig.parse(DOCKER)
    assert image.raw == DOCKER
    assert image.id == "sha256:" + hashlib.sha256(DOCKER).hexdigest()
    assert (image.os, image.architecture, image.variant, image.os_version) == ("linux", "amd64", "", "")
    assert (image.author, image.comment, image.docker_version) == ("", "", "20.10.24+dfsg1")
    assert image.created == "2026-11-24T01:55:06.996103851Z"
    assert image.config["Env"] == ["PATH=/bin", "X=1"]
    assert image.config["Volumes"] is None
    assert image.labels == {"a": "b"}
    assert image.diff_ids == (L0, L1, L2)
    assert image.chain_ids == (L0, C1, C2)


def test_history_beside_the_layers() -> None:
    image = ImageConfig.parse(DOCKER)
    assert image.history[0] == HistoryEntry("2026-11-24T01:55:06.309680035Z", comment="Imported from -")
    assert image.history[2].created_by == "/bin/sh -c echo hello > /hello && rm /etc/group"
    assert image.layer_history() == (image.history[0], image.history[2], image.history[3])


def test_a_short_history_leaves_layers_without_a_row() -> None:
    image = ImageConfig.parse(config(history=[{"empty_layer": True}, {"created_by": "x", "author": "y"}]))
    assert image.layer_history() == (HistoryEntry(created_by="x", author="y"),)
    assert ImageConfig.parse(config()).layer_history() == (None,)


def test_the_least_that_is_a_config() -> None:
    image = ImageConfig.parse(b'{"rootfs":{}}')
    assert image.diff_ids == image.chain_ids == image.history == image.layer_history() == ()
    assert (image.created, image.os, image.config, image.labels) == (None, "", {}, {})


def test_null_is_absent() -> None:
    raw = config(created=None, config=None, history=None, author=None, os__features=None)
    image = ImageConfig.parse(raw)
    assert (image.created, image.config, image.history, image.author) == (None, {}, (), "")
    assert ImageConfig.parse(b'{"rootfs":{"type":null,"diff_ids":null}}').diff_ids == ()


def test_every_named_field() -> None:
    raw = config(author="a", variant="v7", comment="c", created="whenever", os="linux", os__version="10.0")
    image = ImageConfig.parse(raw)
    assert (image.author, image.variant, image.comment) == ("a", "v7", "c")
    assert (image.created, image.os, image.os_version) == ("whenever", "linux", "10.0")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{}", "invalid image JSON, no RootFS key"),
        (b'{"rootfs":null}', "invalid image JSON, no RootFS key"),
        (b"[]", "invalid image JSON: not an object"),
        (b"", "invalid image JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[" * 100_000, "invalid image JSON: nested too deeply"),
        (b'{"rootfs":{},"x":NaN}', "invalid image JSON: NaN is not JSON"),
        (b'{"rootfs":{}}'.decode().encode("utf-16"), None),
        (b"\xef\xbb\xbf" + b'{"rootfs":{}}', None),
        (b'{"rootfs":{},"RootFS":{}}', "invalid image JSON: rootfs is given twice"),
        (config(rootfs=[]), "invalid image JSON: rootfs is not an object"),
        (
            config(rootfs={"type": "layers+base"}),
            "invalid image JSON: rootfs.type 'layers+base' is not layers",
        ),
        (config(rootfs={"diff_ids": "x"}), "invalid image JSON: rootfs.diff_ids is not a list of strings"),
        (
            config(rootfs={"diff_ids": ["../../etc"]}),
            "invalid image JSON: rootfs.diff_ids: invalid checksum digest format",
        ),
        (
            config(rootfs={"diff_ids": ["sha512:" + "0" * 128]}),
            "invalid image JSON: rootfs.diff_ids: unsupported digest algorithm",
        ),
        (config(history=[{}, {}]), "too many non-empty layers in History section"),
        (config(history={}), "invalid image JSON: history is not a list"),
        (config(history=["x"]), "invalid image JSON: history[0] is not an object"),
        (
            config(history=[{}, {"empty_layer": "yes"}]),
            "invalid image JSON: history[1].empty_layer is not true or false",
        ),
        (config(os=["linux"]), "invalid image JSON: os is not a string"),
        (config(created=0), "invalid image JSON: created is not a string"),
        (config(config=[]), "invalid image JSON: config is not an object"),
        (config(config={"Cmd": 1}), "invalid image JSON: config.Cmd is not a list of strings"),
        (config(config={"Env": "A=1"}), "invalid image JSON: config.Env is not a list of strings"),
        (config(config={"Labels": ["a"]}), "invalid image JSON: config.Labels is not an object of strings"),
        (
            config(config={"labels": {"a": 1}}),
            "invalid image JSON: config.Labels is not an object of strings",
        ),
        (config(config={"Volumes": ["/x"]}), "invalid image JSON: config.Volumes is not an object"),
        (
            config(config={"StopTimeout": True}),
            "invalid image JSON: config.StopTimeout is not a whole number",
        ),
        (
            config(config={"Healthcheck": {"Interval": "1s"}}),
            "invalid image JSON: config.Healthcheck.Interval is not a whole number",
        ),
    ],
)
def test_what_is_refused(raw: bytes, reason: str | None) -> None:
    message = refusal(raw)
    assert message == reason if reason else message.startswith("invalid image JSON: ")


def test_keys_fit_whatever_their_case_as_go_reads_them() -> None:
    raw = (
        b'{"RootFS":{"Diff_IDs":["'
        + L0.encode()
        + b'"]},"OS":"linux","Config":{"cmd":["sh"],"labels":{"a":"b"}}}'
    )
    image = ImageConfig.parse(raw)
    assert (image.os, image.diff_ids, image.labels) == ("linux", (L0,), {"a": "b"})
    assert image.config["Cmd"] == ["sh"]
    assert image.raw == raw


def test_values_are_held_as_docker_holds_them() -> None:
    fields = {
        "Cmd": "echo a b",
        "Entrypoint": ["/x"],
        "Env": ["A=1", None],
        "Labels": {"a": None},
        "Memory": 7,
    }
    image = ImageConfig.parse(config(config=fields))
    assert image.config == {
        "Cmd": ["echo a b"],
        "Entrypoint": ["/x"],
        "Env": ["A=1", ""],
        "Labels": {"a": ""},
        "Memory": 7,
    }


def test_what_is_not_unicode_is_replaced() -> None:
    image = ImageConfig.parse(b'{"author":"M\xfcller","comment":"\\ud800x","rootfs":{}}')
    assert (image.author, image.comment) == ("M\ufffdller", "\ufffdx")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)
NAMES = [
    "config",
    "history",
    "rootfs",
    "created",
    "os",
    "Config",
    "author",
    "container_config",
    "os.features",
]


@given(st.dictionaries(st.sampled_from(NAMES), JSON) | JSON)
def test_any_json_is_a_config_or_refused(document: object) -> None:
    raw = json.dumps(document).encode()
    try:
        image = ImageConfig.parse(raw)
    except InvalidImageConfig as error:
        assert "\n" not in error.message
    else:
        assert image.raw == raw
        assert len(image.layer_history()) == len(image.diff_ids) == len(image.chain_ids)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_config_or_refused(raw: bytes) -> None:
    try:
        ImageConfig.parse(raw)
    except InvalidImageConfig:
        pass


@given(st.lists(st.binary(max_size=8), max_size=20), st.lists(st.booleans(), max_size=30))
def test_history_rows_meet_their_layers(contents: list[bytes], empty: list[bool]) -> None:
    diff_ids = [DiffID.of(content) for content in contents]
    steps = [{"created_by": str(index), "empty_layer": flag} for index, flag in enumerate(empty)]
    raw = config(rootfs={"diff_ids": diff_ids}, history=steps)
    layered = [str(index) for index, flag in enumerate(empty) if not flag]
    if len(layered) > len(diff_ids):
        assert refusal(raw) == "too many non-empty layers in History section"
        return
    rows = ImageConfig.parse(raw).layer_history()
    assert [row.created_by for row in rows if row is not None] == layered
    assert rows[len(layered) :] == (None,) * (len(diff_ids) - len(layered))
