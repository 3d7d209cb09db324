"""Volumes by the Python interface, and what is mounted in containers, in Docker 28's way."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import onggi
from onggi.engine.containers.from_layer import NoSuchLayer, StandsOnALowerLayer
from onggi.engine.containers.mount_specs import InvalidMount
from onggi.engine.filters import InvalidFilter
from onggi.engine.volume_mounts import CannotMountVolume
from onggi.engine.volumes import VolumeInUse
from onggi.errors import InvalidArgument
from onggi.linux.filesystem import is_mountpoint
from onggi.store.volumes import ANONYMOUS, InvalidVolume, SomethingMounted, UnknownDriver, VolumeNotFound
from tests.peers.processes import wait_until

FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}


@pytest.fixture(autouse=True)
def _without_volumes(engine: onggi.Engine) -> Iterator[None]:
    yield
    for container in engine.containers.list(all=True):
        container.remove(force=True, volumes=True)
    for volume in engine.volumes.list():
        volume.remove()
    root = engine.config.data_root
    assert sorted(path.name for path in (root / "volumes").iterdir()) == ["metadata.db"]
    assert not list((root / "onggi" / "filling").glob("*"))


def said(container: onggi.Container) -> str:
    container.wait()
    return b"".join(entry.data for entry in container.logs()).decode()


def test_make_find_list_remove(engine: onggi.Engine) -> None:
    volumes = engine.volumes
    made = volumes.create("first", labels={"a": "b"})
    unnamed = volumes.create()
    assert volumes.create("first", labels={"c": "d"}).labels == {"a": "b"}
    assert (made.name, made.driver, made.options, made.anonymous) == ("first", "local", {}, False)
    assert made.path.is_dir()
    assert time.time() - made.created_at < 60
    assert unnamed.anonymous
    assert unnamed.labels == {ANONYMOUS: ""}
    assert volumes.get("first") == made
    assert volumes.list({"name": ["^fi"]}) == volumes.list({"label": ["a=b"]}) == [made]
    assert volumes.list({"label!": ["a"]}) == [unnamed]
    assert len(volumes.list({"driver": ["local"]})) == 2
    made.remove()
    with pytest.raises(VolumeNotFound, match="get first: no such volume"):
        volumes.get("first")
    with pytest.raises(VolumeNotFound):
        made.remove()
    with pytest.raises(InvalidFilter):
        volumes.list({"color": ["red"]})


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("x", {}, "too short"),
        ("../up", {}, "invalid characters"),
        ("a\n", {}, "invalid characters"),
        ("n" * 250, {}, "too long"),
        ("ok", {"type": "tmpfs"}, 'missing required option: "device"'),
        ("ok", {"size": "1m"}, "no quota support"),
        ("ok", {"what": "1"}, "invalid option"),
    ],
)
def test_what_no_volume_can_be(engine: onggi.Engine, name: str, options: dict[str, str], error: str) -> None:
    with pytest.raises(InvalidVolume, match=error):
        engine.volumes.create(name, options=options)
    with pytest.raises(UnknownDriver):
        engine.volumes.create("ok", driver="nope")


def test_prune_takes_what_nobody_named(engine: onggi.Engine) -> None:
    unnamed, named = engine.volumes.create(), engine.volumes.create("named")
    mounted = engine.volumes.create("mounted", options=TMPFS)
    (unnamed.path / "f").write_bytes(b"12345")
    used = engine.containers.create("box", host_config={"Mounts": [{"Type": "volume", "Target": "/a"}]})
    pruned = engine.volumes.prune()
    assert (pruned.names, pruned.space_bytes) == ((unnamed.name,), 5)
    used.remove()
    assert len(engine.volumes.prune({"label!": [ANONYMOUS]}, all=True).names) == 1
    assert engine.volumes.list() == sorted(
        [mounted, *engine.volumes.list({"label": [ANONYMOUS]})], key=lambda volume: volume.name
    )
    assert named not in engine.volumes.list()


def test_a_volume_in_use_stays(engine: onggi.Engine) -> None:
    container = engine.containers.create("box", host_config={"Binds": ["used:/a"]})
    volume = engine.volumes.get("used")
    assert volume.containers == [container.id]
    with pytest.raises(VolumeInUse, match=rf"remove used: volume is in use - \[{container.id}\]"):
        volume.remove()
    container.remove(volumes=True)
    volume.remove()


def test_a_mount_in_a_volume_is_not_deleted_with_it(engine: onggi.Engine, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    volume = engine.volumes.create("mounted")
    (volume.path / "here").mkdir()
    subprocess.run(["mount", "--bind", tmp_path, volume.path / "here"], check=True)
    try:
        with pytest.raises(SomethingMounted, match="/here"):
            volume.remove()
        assert (tmp_path / "precious").exists()
    finally:
        subprocess.run(["umount", volume.path / "here"], check=True)


def test_a_killed_filling_begins_anew(engine: onggi.Engine) -> None:
    """Unless a container has the volume: then what is there may be its own."""
    for name in ("half", "taken"):
        volume = engine.volumes.create(name)
        (volume.path / "half").write_text("")
        engine._core.volumes.begin_filling(name)
    engine.containers.create("box", host_config={"Binds": ["taken:/nowhere:nocopy"]})
    for name, there in (("half", False), ("taken", True)):
        engine.containers.create("box", host_config={"Binds": [f"{name}:/etc"]})
        found = engine.volumes.get(name).path
        assert ((found / "half").exists(), (found / "passwd").exists()) == (there, not there)


def test_many_fill_one_volume_once(engine: onggi.Engine) -> None:
    def make(number: int) -> str:
        return engine.containers.create("box", host_config={"Binds": ["shared:/etc"]}).id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(make, range(8)))
    volume = engine.volumes.get("shared")
    assert sorted(volume.containers) == sorted(ids)
    assert (volume.path / "passwd").read_text().startswith("root:")


def test_an_error_leaves_no_volume_of_its_own(engine: onggi.Engine) -> None:
    before = engine.volumes.create("before")
    with pytest.raises(InvalidMount, match="cannot mount volume over existing file"):
        engine.containers.create("box", config={"Volumes": {"/a": {}, "/etc/passwd": {}}})
    assert engine.volumes.list() == [before]


# --- mounted while they are used ------------------------------------------------------------------


def test_one_mount_for_all_who_use_it(engine: onggi.Engine) -> None:
    volume = engine.volumes.create("memory", options=TMPFS)
    bind = {"Binds": ["memory:/m"]}
    first = engine.containers.run("box", ["sh", "-c", f"echo 1 > /m/f; {FOREVER[2]}"], host_config=bind)
    second = engine.containers.run("box", FOREVER, host_config=bind)
    wait_until(lambda: second.exec(["cat", "/m/f"]).communicate().stdout == b"1\n", "the file")
    assert (volume.path / "f").read_text() == "1\n"
    first.stop()
    assert second.exec(["cat", "/m/f"]).communicate().stdout == b"1\n"
    second.stop()
    assert not is_mountpoint(str(volume.path))
    assert list(volume.path.iterdir()) == []


def test_a_killed_supervisors_volume_is_unmounted(engine: onggi.Engine) -> None:
    volume = engine.volumes.create("memory", options=TMPFS)
    container = engine.containers.run("box", FOREVER, host_config={"Binds": ["memory:/m"]})
    os.kill(_holder(engine, "volume-mount-memory"), signal.SIGKILL)
    wait_until(lambda: not container.running, "its end")
    assert is_mountpoint(str(volume.path))
    container.remove(force=True)
    assert not is_mountpoint(str(volume.path))


def _holder(engine: onggi.Engine, lock: str) -> int:
    path = str(engine.config.data_root / "onggi" / "locks" / lock)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                if any(os.readlink(fd) == path for fd in (entry / "fd").iterdir()):
                    return int(entry.name)
            except OSError:
                continue
    raise AssertionError("nobody holds it")


def test_what_cannot_be_mounted(engine: onggi.Engine) -> None:
    options = {"type": "cifs", "device": "//x/y", "o": "username=u,password=secret,ro"}
    volume = engine.volumes.create("away", options=options)
    container = engine.containers.create("box", host_config={"Binds": ["away:/a:nocopy"]})
    with pytest.raises(
        CannotMountVolume, match=r"failed to mount local volume: mount //x/y:.*flags: 0x1, data"
    ) as raised:
        container.start()
    assert "secret" not in str(raised.value)
    assert container.stored.state["Error"] == str(raised.value)
    assert not is_mountpoint(str(volume.path))


# --- places inside --------------------------------------------------------------------------------


def test_a_part_of_a_volume(engine: onggi.Engine) -> None:
    volume = engine.volumes.create("parts")
    (volume.path / "in" / "deep").mkdir(parents=True)
    (volume.path / "in" / "deep" / "f").write_text("deep\n")
    (volume.path / "link").symlink_to("/in/deep")
    (volume.path / "out").symlink_to("/etc/shadow")

    def part(subpath: str, target: str) -> dict[str, object]:
        return {"Type": "volume", "Source": "parts", "Target": target, "VolumeOptions": {"Subpath": subpath}}

    mounts = [part("in/deep", "/a"), part("in/deep/f", "/b"), part("link", "/c")]
    container = engine.containers.run(
        "box", ["sh", "-c", "cat /a/f /b /c/f; echo more >> /a/f"], host_config={"Mounts": mounts}
    )
    assert said(container) == "deep\n" * 3
    assert (volume.path / "in/deep/f").read_text() == "deep\nmore\n"
    bundle = engine.config.exec_root / "containers" / container.id
    wait_until(lambda: not bundle.exists(), "the end of the supervisor")
    for subpath, error in (("out", "no such file"), ("missing", "no such file")):
        with pytest.raises(InvalidArgument, match=f"cannot access path .*{subpath}: {error}"):
            engine.containers.run("box", ["true"], host_config={"Mounts": [part(subpath, "/a")]})
    for subpath in ("../x", "/x", ".."):
        with pytest.raises(InvalidMount, match="must be a relative path within the volume"):
            engine.containers.create("box", host_config={"Mounts": [part(subpath, "/a")]})


def test_an_image_with_links_where_volumes_go(engine: onggi.Engine) -> None:
    """``/srv`` of evil leads to ``/out``: inside, for what is copied and for what is mounted."""
    container = engine.containers.run(
        "evil",
        ["/bin/sh", "-c", "echo x > /srv/v/f; ls -d /out/v/f"],
        host_config={"Binds": ["links:/srv/v"]},
    )
    assert said(container) == "/out/v/f\n"
    assert (engine.volumes.get("links").path / "f").exists()
    assert not Path("/out").exists()


# --- a lower layer ----------------------------------------------------------------------------------


def test_a_container_on_a_lower_layer(engine: onggi.Engine) -> None:
    """evil: busybox; whiteouts of three directories; links in their places."""
    image = engine.images.get("evil")
    base, second, _ = image.layers
    passwd, missing = "/etc/passwd\n", "ls: /etc/passwd: No such file or directory\n"
    for layer, expected in (
        (1, passwd),
        (base.diff_id.hex[:12], passwd),
        (2, missing),
        (str(second.chain_id), missing),
        (3, missing),
    ):
        container = engine.containers.run("evil", ["/bin/sh", "-c", "ls -d /etc/passwd"], layer=layer)
        assert said(container) == expected
        container.remove()
    for layer in (0, 4, -1, "zz", "sha256:"):
        with pytest.raises(NoSuchLayer, match="1 is the base|there is no such layer"):
            engine.containers.create("evil", layer=layer)
    low = engine.containers.create("evil", ["/bin/true"], layer=1)
    with pytest.raises(StandsOnALowerLayer):
        low.commit()


def test_mounts_by_parameters(engine: onggi.Engine, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("host\n")
    container = engine.containers.run(
        "box",
        ["sh", "-c", "exec 2>&1; cat /h/f; touch /h/x; echo 1 > /v/f; df /t | tail -n1 | awk '{print $1}'"],
        volumes={"/v": "by-name", "/h:ro": str(tmp_path)},
        mounts=[{"Type": "tmpfs", "Target": "/t"}],
    )
    assert said(container) == "host\ntouch: /h/x: Read-only file system\ntmpfs\n"
    assert (engine.volumes.get("by-name").path / "f").read_text() == "1\n"
    assert sorted(mount["Destination"] for mount in container.inspect()["Mounts"]) == ["/h", "/t", "/v"]


# --- images ---------------------------------------------------------------------------------------


def test_an_image_mounted_in_a_container(engine: onggi.Engine) -> None:
    """Read-only, whole or in part; its layers stay when its name goes, and go with the container."""
    engine.images.tag("rich", "goes")
    mounts = [
        {"Type": "image", "Source": "goes", "Target": "/i"},
        {"Type": "image", "Source": "goes", "Target": "/b", "ImageOptions": {"Subpath": "bin/sh"}},
        {"Type": "image", "Source": "goes", "Target": "/e", "ImageOptions": {"Subpath": "etc/../etc"}},
    ]
    script = "exec 2>&1; cmp /b /bin/busybox && ls /e /i/home; touch /i/x; touch /e/x"
    container = engine.containers.create("box", ["sh", "-c", script], host_config={"Mounts": mounts})
    engine.images.remove("goes")
    engine.gc()
    container.start()
    assert said(container) == (
        "/e:\ngroup\npasswd\n\n/i/home:\nuser\n"
        "touch: /i/x: Read-only file system\ntouch: /e/x: Read-only file system\n"
    )
    assert [mount["Type"] for mount in container.inspect()["Mounts"]] == ["image"] * 3
    entries = engine.config.data_root / "image/overlay2/layerdb/mounts"
    assert len([path for path in entries.iterdir() if path.name.startswith(container.id)]) == 4
    container.remove()
    assert list(entries.iterdir()) == []
    with pytest.raises(InvalidArgument, match="No such image: nope"):
        engine.containers.create("box", mounts=[{"Type": "image", "Source": "nope", "Target": "/a"}])
    with pytest.raises(InvalidMount, match="relative path"):
        engine.containers.create("box", mounts=[{**mounts[1], "ImageOptions": {"Subpath": "../x"}}])
    engine.images.tag("rich", "goes")
    low = engine.containers.create("box", mounts=[{**mounts[1], "ImageOptions": {"Subpath": "no"}}])
    with pytest.raises(InvalidArgument, match="cannot access path no: no such file"):
        low.start()
    engine.images.remove("goes")


# --- the whole root -------------------------------------------------------------------------------


def test_what_they_take_on_disk(engine: onggi.Engine) -> None:
    container = engine.containers.run(
        "box", ["sh", "-c", "echo 12345 > /f; echo 123 > /v/f"], volumes={"/v": "kept"}
    )
    container.wait()
    unnamed = engine.volumes.create()
    (unnamed.path / "f").write_bytes(b"12")
    engine.volumes.create("memory", options=TMPFS)
    usage = engine.system.df()
    assert [(each.row.id, each.size_bytes, each.active) for each in usage.containers] == [
        (container.id, 6, False)
    ]
    assert {each.volume.name: (each.size_bytes, each.links) for each in usage.volumes} == {
        "kept": (4, 1),
        unnamed.name: (2, 0),
    }
    with pytest.raises(InvalidArgument, match="until"):
        engine.system.prune(volumes=True, filters={"until": ["1h"]})
    assert engine.system.prune().volumes == ()
    assert engine.system.prune(volumes=True).volumes == (unnamed.name,)
    assert [volume.name for volume in engine.volumes.list()] == ["kept", "memory"]


def test_events_of_volumes(engine: onggi.Engine) -> None:
    since = time.time()
    container = engine.containers.run("box", ["true"], volumes={"/v:ro": "told"})
    container.wait()
    container.remove()
    engine.volumes.get("told").remove()
    events = list(engine.events.read(since=since, follow=False, filters={"volume": ["told"]}))
    assert [event.action for event in events] == ["create", "mount", "unmount", "destroy"]
    assert events[1].attributes == {
        "container": container.id,
        "destination": "/v",
        "driver": "local",
        "propagation": "",
        "read/write": "false",
    }
    assert events[2].attributes == {"container": container.id, "driver": "local"}
    assert "status" not in events[0].to_json()
    of_the_container = engine.events.read(since=since, follow=False, filters={"container": [container.id]})
    assert {event.type for event in of_the_container} == {"container"}


# --- what is mounted below a bind -----------------------------------------------------------------


def test_read_only_reaches_what_is_mounted_below(engine: onggi.Engine, tmp_path: Path) -> None:
    """As since Docker 25; ``bind-recursive`` says otherwise."""
    (tmp_path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "below"], check=True)

    def bind(target: str, **options: bool) -> dict[str, object]:
        spec = {"Type": "bind", "Source": str(tmp_path), "Target": target, "ReadOnly": True}
        return {**spec, "BindOptions": {"Propagation": "rprivate", **options}}

    mounts = [
        bind("/deep"),
        bind("/forced", ReadOnlyForceRecursive=True),
        bind("/shallow", ReadOnlyNonRecursive=True),
        bind("/alone", NonRecursive=True),
    ]
    script = "for i in deep forced shallow alone; do touch /$i/below/$i && echo $i; done 2>/dev/null"
    try:
        container = engine.containers.run("box", ["sh", "-c", script], mounts=mounts)
        assert said(container) == "shallow\n"
        assert os.listdir(tmp_path / "below") == ["shallow"]
    finally:
        subprocess.run(["umount", tmp_path / "below"], check=True)
