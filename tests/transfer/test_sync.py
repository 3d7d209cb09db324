"""Sync between data roots: here, and over the real protocol through an ``ssh`` that runs its command locally."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import onggi as library
from onggi.cancel import CancelToken
from onggi.engine.sync import SamePlace, sync
from onggi.errors import Cancelled, InvalidArgument
from onggi.layers.tar_stream import LayerChanged
from onggi.oci.digest import ChainID
from onggi.oci.image_config import ImageConfig
from onggi.oci.reference import Reference
from onggi.transfer.reporter import Reporter
from onggi.transfer.sync import LocalSource, NotAskedFor, Offer, Sink, WrongLayer
from onggi.transfer.sync_channel import Channel, ChannelBroken, RemoteSource
from onggi.transfer.sync_ssh import SSHPlace
from tests.compat.stores import layer_trees, metadata_tree
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi

# Skips ssh's options and the host, and gives the rest to a shell, as sshd does.
SSH = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift 2\nexec sh -c "exec $*"\n'


@pytest.fixture(scope="module")
def filled(tmp_path_factory, hub) -> Onggi:
    """odd, twice (a layer two times), tags:v1 and v2 on one base, an image with an old name too."""
    directory = tmp_path_factory.mktemp("filled")
    config = directory / "daemon.json"
    config.write_text(json.dumps({"registry-mirrors": [hub]}))
    made = Onggi(directory / "root", config)
    for name in ("odd", "twice", "tags:v1", "tags:v2"):
        made.run("pull", "-q", name)
    made.run("tag", "odd", "localhost:5000/team/odd:old")
    return made


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch) -> str:
    """The way to a path of this host that looks like another's; gives the URL up to the path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("ssh", SSH), ("onggi", f'#!/bin/sh\nexec {sys.executable} -m onggi "$@"\n')):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return "ssh://someone@elsewhere:2222"


def without_tag_times(root: Path) -> dict[str, tuple[object, ...]]:
    """When a name was given stays where it was given."""
    return {
        name: facts for name, facts in metadata_tree(root).items() if not name.startswith("imagedb/metadata")
    }


def assert_same(one: Path, other: Path) -> None:
    assert without_tag_times(one) == without_tag_times(other)
    assert layer_trees(one) == layer_trees(other)
    for root in (one, other):
        assert os.listdir(root / "onggi/staging") == []


def test_a_root_comes_whole(filled: Onggi, tmp_path: Path) -> None:
    target = tmp_path / "two"
    text = filled.output("sync", str(filled.data_root), str(target))
    assert_same(filled.data_root, target)
    assert "odd:latest, localhost:5000/team/odd:old: 2 of 2 layers, 35B\n" in text
    assert "twice:latest: 2 of 3 layers, 2B\n" in text
    again = filled.output("sync", "-q", "--json", str(filled.data_root), str(target))
    assert all(not image["Missing"] and not image["New"] for image in json.loads(again))
    assert (
        filled.output("images", "-q").split() == Onggi(target, filled._config).output("images", "-q").split()
    )


@pytest.mark.parametrize("way", ["to", "from", "through"])
def test_over_ssh(filled: Onggi, tmp_path: Path, ssh: str, way: str) -> None:
    here, there = str(filled.data_root), f"{tmp_path}/a root"
    if way == "to":
        filled.run("sync", here, f"{ssh}{there}".replace(" ", "%20"))
    elif way == "from":
        filled.run("sync", f"{ssh}{here}", there)
    else:
        filled.run("sync", f"{ssh}{here}", f"{ssh}{there}".replace(" ", "%20"))
    assert_same(filled.data_root, Path(there))


def test_only_what_is_asked_for_and_missing(filled: Onggi, tmp_path: Path, ssh: str) -> None:
    target = Onggi(tmp_path / "two", filled._config)
    place = f"{ssh}{target.data_root}"
    source = str(filled.data_root)
    plan = json.loads(filled.output("sync", "--dry-run", "--json", source, place, "tags:v1", "tags:v2"))
    assert [len(image["Missing"]) for image in plan] == [2, 1]
    assert not target.data_root.exists()
    assert "To copy: 3B" in filled.output("sync", "--dry-run", source, place, "tags:v1", "tags:v2")
    filled.run("sync", source, place, "tags:v1")
    assert target.output("images", "--format", "{{.Repository}}:{{.Tag}}").split() == ["tags:v1"]
    done = json.loads(filled.output("sync", "--json", source, place, "tags:v2", "odd"))
    assert [len(image["Missing"]) for image in done] == [1, 2]
    assert "old" not in target.output("images")
    odd = filled.output("images", "-q", "--no-trunc", "odd").split()[0]
    fresh = Onggi(tmp_path / "three", filled._config)
    filled.run("sync", source, str(fresh.data_root), odd[:19])
    assert fresh.output("images", "--format", "{{.Repository}} {{.ID}}").split() == ["<none>", odd[7:19]]


def test_it_is_on_record(filled: Onggi, tmp_path: Path) -> None:
    target = Onggi(tmp_path / "two", filled._config)
    filled.run("sync", str(filled.data_root), str(target.data_root), "tags:v1")
    events = target.output("events", "--since", "1h", "--until", "0s", "--json").splitlines()
    assert [json.loads(line)["Action"] for line in events] == ["sync"]
    assert "sync" in target.output("tag", "--history", "tags:v1")


# --- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{here}", "{here}"), "sync {here}: source and destination are the same data root"),
        (("{tmp}/nothing", "{tmp}/x"), "sync from {tmp}/nothing: no such data root ("),
        (("{here}", "{tmp}/x", "nope"), "No such image: nope:latest ("),
        (("{ssh}{here}", "{tmp}/x", "nope"), "{ssh}{here}: No such image: nope:latest ("),
        (("{ssh}{tmp}/nothing", "{tmp}/x"), "{ssh}{tmp}/nothing: sync from {tmp}/nothing: no such data root ("),
        (("ssh://-oProxyCommand=evil/x", "{tmp}/x"), "sync ssh://-oProxyCommand=evil/x: no such host"),
        (("ssh://host", "{tmp}/x"), "sync ssh://host: host and path are needed ("),
        (("--remote-program", "nosuch", "{ssh}{here}", "{tmp}/x"),
         "sync with {ssh}{here}: the connection ended: sh: 1: exec: nosuch: not found ('nosuch' must be found"),
        (("--remote-program", "echo Welcome;:", "{here}", "{ssh}{tmp}/x"),
         "sync with {ssh}{tmp}/x: it does not speak this protocol (got b'W') ("),
    ],
)  # fmt: skip
def test_one_clear_error(
    filled: Onggi, tmp_path: Path, ssh: str, words: tuple[str, ...], message: str
) -> None:
    given = {"here": filled.data_root, "tmp": tmp_path, "ssh": ssh}
    done = filled.run("sync", *(word.format(**given) for word in words), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: " + message.format(**given)), done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("received", [50, pytest.param(3_000, marks=pytest.mark.soak), 30_000])
def test_a_cut_connection_leaves_a_sound_store(
    filled: Onggi, tmp_path: Path, ssh: str, received: int
) -> None:
    target = tmp_path / "two"
    cut = tmp_path / "bin" / "cut-off"
    relay = f"{{ dd bs=1 count={received} 2>/dev/null; kill -9 $$; }}"
    cut.write_text(f'#!/bin/sh\nonggi "$@" 2>/dev/null | {relay}\n')
    cut.chmod(0o755)
    words = ["sync", "--remote-program", str(cut), f"{ssh}{filled.data_root}", str(target)]
    done = filled.run(*words, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the connection ended (" in done.stderr
    assert list((target / "onggi/staging").glob("*")) == []
    filled.run("sync", f"{ssh}{filled.data_root}", str(target))
    assert_same(filled.data_root, target)


@pytest.mark.parametrize(
    "after", [20_000, *(pytest.param(size, marks=pytest.mark.soak) for size in (2_000, 60_000))]
)
def test_killed_in_the_middle(filled: Onggi, tmp_path: Path, ssh: str, after: int) -> None:
    """kill -9 while the other side is silent: the next sync clears up and completes."""
    target, stuck = tmp_path / "two", tmp_path / "bin" / "stuck"
    relay = f"{{ dd bs=1 count={after} 2>/dev/null; touch {tmp_path}/silent; sleep 60; }}"
    stuck.write_text(f'#!/bin/sh\nonggi "$@" | {relay}\n')
    stuck.chmod(0o755)
    command = [sys.executable, "-m", "onggi", "sync", "--remote-program", str(stuck)]
    child = subprocess.Popen(
        [*command, f"{ssh}{filled.data_root}", str(target)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "silent").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    filled.run("sync", str(filled.data_root), str(target))
    assert_same(filled.data_root, target)
    assert not any(path.name.startswith("tmp") for path in (target / "onggi").iterdir())


def test_cancel_reaches_a_silent_peer(filled: Onggi, tmp_path: Path, ssh: str) -> None:
    silent = tmp_path / "bin" / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    token = CancelToken()
    threading.Timer(0.3, token.cancel).start()
    config = library.Config.load({"data_root": str(tmp_path / "two")})
    with pytest.raises(Cancelled):
        sync(config, f"{ssh}/x", str(tmp_path / "two"), program=str(silent), cancel=token)


def test_a_damaged_layer_does_not_travel(filled: Onggi, tmp_path: Path, ssh: str) -> None:
    copy = Onggi(tmp_path / "copy", filled._config)
    filled.run("sync", str(filled.data_root), str(copy.data_root), "tags:v1")
    top = json.loads(copy.output("layers", "--json", "tags:v1"))[0]
    Path(top["Directory"], "v1").write_bytes(b"y")
    for target in (str(tmp_path / "two"), f"{ssh}{tmp_path}/three"):
        done = copy.run("sync", str(copy.data_root), target, check=False)
        assert done.returncode == 1
        assert f"could not verify layer data for: {top['DiffID']}." in done.stderr
        assert done.stderr.count("\n") == 1
    for name in ("two", "three"):
        assert list((tmp_path / name / "image/overlay2/imagedb/content/sha256").glob("*")) == []
        assert os.listdir(tmp_path / name / "onggi/staging") == []


class _Liar:
    """A source that is a real one but for what a test replaces."""

    name, lanes = "liar", 1

    def __init__(self, source: LocalSource) -> None:
        self.source = source

    def offers(self, names: Sequence[str]) -> list[Offer]:
        return self.source.offers(names)

    def layer(self, chain: ChainID) -> Iterator[bytes]:
        return self.source.layer(chain)


@pytest.fixture
def liar(filled: Onggi) -> Iterator[_Liar]:
    from onggi.engine.sync import _local_source

    with _local_source(library.Config.load({"data_root": str(filled.data_root)}), "liar") as source:
        yield _Liar(source)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with library.open(data_root=str(tmp_path / "two")) as engine:
        core = engine._core
        with core.writing():
            yield Sink(
                core.images,
                core.tags,
                core.layers,
                core.distribution,
                core.locks,
                engine._workers,
                core.layout.own,
            )


def test_other_bytes_are_refused(liar: _Liar, sink: Sink, tmp_path: Path) -> None:
    (offer,) = sink.offers(liar, ["tags:v1"])
    other = next(iter(liar.offers(["tags:v2"]))).config.chain_ids[-1]
    liar.layer = lambda chain: liar.source.layer(other)  # type: ignore[method-assign]
    with pytest.raises(WrongLayer, match="layer sha256:[0-9a-f]{64} came as sha256:"):
        sink.store(liar, offer, Reporter(lambda event: None), CancelToken())
    assert sink.images.ids() == [] and list(sink.layers.db.records()) == []
    assert os.listdir(tmp_path / "two/onggi/staging") == []


def test_a_layer_under_another_chain_does_not_travel(liar: _Liar, sink: Sink) -> None:
    (offer,) = sink.offers(liar, ["tags:v1"])
    sink.store(liar, offer, Reporter(lambda event: None), CancelToken())
    document = json.loads(offer.config.raw)
    document["rootfs"]["diff_ids"].reverse()
    turned = Offer(
        ImageConfig.parse(json.dumps(document).encode()), (Reference.parse("turned:1"),), offer.layers[::-1]
    )
    liar.layer = lambda chain: iter([b"it must not be asked"])  # type: ignore[method-assign]
    synced = sink.store(liar, turned, Reporter(lambda event: None), CancelToken())
    assert len(synced.missing) == 2
    assert turned.config.id in sink.images
    assert all(sink.layers.usable(chain) for chain in turned.config.chain_ids)


def test_what_was_not_asked_for_is_refused(liar: _Liar, sink: Sink) -> None:
    (odd,) = liar.offers(["odd"])
    for names, offered in (
        (["tags:v1"], odd),
        (["odd"], Offer(odd.config, (*odd.names, Reference.parse("nginx:latest")), odd.layers)),
        (["abcdef012345"], Offer(odd.config, (), odd.layers)),
        ([odd.config.id], odd),
        (["odd"], Offer(odd.config, odd.names, odd.layers[:1])),
    ):
        liar.offers = lambda _, offered=offered: [offered]  # type: ignore[method-assign,misc]
        with pytest.raises(NotAskedFor):
            sink.offers(liar, names)
    liar.offers = lambda _: [odd]  # type: ignore[method-assign]
    assert sink.offers(liar, []) == [odd]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"O\x00\x00",
        b"O\xff\xff\xff\xff",
        b"D\x00\x20\x00\x00",
        b"D\x00\x00\x00\x01x",
        b"O\x00\x00\x00\x02{}",
        b"O\x00\x00\x00\x02[]",
        b"O\x00\x00\x00\x01{",
        b"Z\x00\x00\x00\x00",
        b"O\x00\x00\x00\x2e" + b'{"config":"e30=","names":[],"layers":[]}      ',
        b"X\x00\x00\x00\x02[]",
    ],
)
def test_garbage_ends_in_an_error(answer: bytes) -> None:
    channel = Channel(io.BytesIO(answer), io.BytesIO(), "ssh://x/y")
    with pytest.raises((ChannelBroken, library.OnggiError)) as caught:
        RemoteSource(channel).offers([])
    assert "\n" not in str(caught.value)


def test_an_error_keeps_its_kind_and_loses_its_tricks() -> None:
    document = json.dumps(
        {"kind": "InvalidArgument", "message": "a\x1b[2Jb\nc" + "x" * 5000, "hint": "h"}
    ).encode()
    frame = b"X" + len(document).to_bytes(4, "big") + document
    with pytest.raises(InvalidArgument) as caught:
        Channel(io.BytesIO(frame), io.BytesIO(), "far").receive(b"R")
    assert str(caught.value).startswith("far: a [2Jb cxxx")
    assert len(str(caught.value)) < 2100
    assert caught.value.hint == "h"


def test_where_ssh_goes() -> None:
    place = SSHPlace.parse("ssh://me@host:22/var/lib/on%20ggi'; rm -rf x")
    assert place.command("sudo onggi") == [
        "ssh", "-p", "22", "--", "me@host", """sudo onggi --data-root '/var/lib/on ggi'"'"'; rm -rf x' sync-serve""",
    ]  # fmt: skip
    assert SSHPlace.parse("ssh://[::1]/x").command("onggi")[:3] == ["ssh", "--", "::1"]
    for wrong in (
        "ssh:///x",
        "ssh://h",
        "ssh://h/",
        "ssh://u:p@h/x",
        "ssh://h:port/x",
        "ssh://-h/x",
        "ssh://-l@h/x",
    ):
        with pytest.raises(InvalidArgument):
            SSHPlace.parse(wrong)


def test_the_api(filled: Onggi, tmp_path: Path) -> None:
    with library.open(data_root=str(tmp_path / "two")) as engine:
        (synced,) = engine.sync_from(str(filled.data_root), ["odd"])
        assert (synced.names[0], synced.layers, len(synced.missing), synced.new) == ("odd:latest", 2, 2, True)
        assert engine.images.get("odd").id == synced.image_id
        with pytest.raises(SamePlace):
            engine.sync_to(str(tmp_path / "two"))
        layer = engine.images.get("odd").layers[1]
        (layer.path / "opaque/new").write_bytes(b"changed")
        with pytest.raises(LayerChanged):
            engine.sync_to(str(tmp_path / "three"))


@pytest.mark.dockerd
@pytest.mark.xdist_group("dockerd")
def test_from_under_a_live_dockerd(dockerd: Daemon, tmp_path: Path, onggi: Onggi) -> None:
    dockerd.run("pull", "-q", "odd")
    onggi.run("sync", str(dockerd.data_root), str(onggi.data_root))
    assert onggi.output("images", "-q").split() == dockerd.output("images", "-q").split()
    assert_layers(dockerd.data_root, onggi.data_root)
    done = onggi.run("sync", str(onggi.data_root), str(dockerd.data_root), check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "a running Docker daemon owns this data root" in done.stderr


def assert_layers(one: Path, other: Path) -> None:
    assert layer_trees(one) == layer_trees(other)
