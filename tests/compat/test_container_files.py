"""What containers changed, as dockerd says it: diff, export, commit, cp."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.compat.copies import made_tree, played, source_tree
from tests.compat.explained import without_hint
from tests.peers.busybox import box_layer, box_layout
from tests.peers.daemon import Daemon, onggi_environment
from tests.peers.fixtures import Onggi
from tests.peers.images import member, tar

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("container-files")]

NONE = ("--network", "none")
STORIES = {
    "made": "echo n > /new; mkdir -p /d/e; echo f > /d/e/f; ln /new /hard; ln -s /x /sym; mkfifo /fifo; mknod /null c 1 3;"
    "chmod 700 /root; chown 2:10 /srv/keep; touch -d 196001010000 /srv/old; touch /bin; chmod 4755 /bin/busybox;"
    "echo 1 > /.dockerenv; mkdir -p /dev/own",
    "gone": "cat /etc/passwd; chmod 600 /etc/passwd; chmod 644 /etc/passwd;"
    "rm /bin/cat /bin/ls /etc/group; rm -r /srv/tree; mv /etc/passwd /etc/p2; rm /srv/keep; echo k > /srv/keep;"
    "rm -rf /home; mkdir /home; echo h > /home/h; echo file > /srv/tree; rm /srv/old; mkdir -p /srv/old/deep",
}


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Iterator[tuple[Onggi, Onggi, Daemon]]:
    """Onggi on both drivers, and dockerd, with the image ``two``: two layers."""
    directory = tmp_path_factory.mktemp("three")
    layout = box_layout(directory / "layout")
    upper = tar(
        [
            member("srv", None, mode=0o755),
            member("srv/keep", b"keep"),
            member("srv/old", b"old"),
            member("srv/tree", None, mode=0o755),
            member("srv/tree/leaf", b"leaf"),
        ]
    )
    layout.image("library/two:latest", [box_layer(), upper], config={"Cmd": ["sh"]})
    with (
        serving(OCILayout(layout.directory)) as url,
        Daemon(directory / "docker", directory / "d", mirror=url) as theirs,
    ):
        ours = []
        for driver in ("overlay2", "erofs"):
            (directory / driver).mkdir()
            config = directory / driver / "daemon.json"
            settings = {"registry-mirrors": [url], "compat": "20.10", "storage-driver": driver}
            config.write_text(json.dumps(settings))
            ours.append(Onggi(directory / driver / "root", config))
        for each in (*ours, theirs):
            each.run("pull", "-q", "two")
        yield ours[0], ours[1], theirs


def canonical(lines: list[str]) -> list[str]:
    """Siblings in order of their names, what is gone after what is there: dockerd's order is random but for that."""
    paths = [line.split(" ", 1) for line in lines]
    kinds = {path: kind for kind, path in paths}

    def key(path: str) -> list[tuple[bool, str]]:
        parts = path.split("/")[1:]
        prefixes = ["/" + "/".join(parts[: end + 1]) for end in range(len(parts))]
        return [(kinds[prefix] == "D", prefix) for prefix in prefixes]

    return [f"{kinds[path]} {path}" for path in sorted(kinds, key=key)]


@pytest.mark.parametrize("story", STORIES)
def test_diff_and_export(three: tuple[Onggi, Onggi, Daemon], story: str) -> None:
    name = f"s-{story}"
    script = f"{STORIES[story]}; touch /tmp/done; sleep 600"
    for each in three:
        each.run("run", "-d", "--name", name, *NONE, "two", "sh", "-c", script)
    for each in three:
        deadline = time.monotonic() + 60
        while each.run("exec", name, "test", "-e", "/tmp/done", check=False).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    expected = canonical(three[2].output("diff", name).splitlines())
    assert "A /tmp/done" in expected
    theirs = export(three[2], name)
    for ours in three[:2]:
        assert ours.output("diff", name).splitlines() == expected
        assert export(ours, name) == theirs
    for each in three:
        each.run("kill", name)
        each.run("wait", name)
    for each in three:
        assert canonical(each.output("diff", name).splitlines()) == expected
        assert export(each, name) == theirs
        each.run("rm", name)


def export(engine: Onggi | Daemon, name: str) -> list[tuple[object, ...]]:
    """Every member in order; times of what the container made aside."""
    file = engine.data_root.parent / f"{name}.tar"
    engine.run("export", "-o", str(file), name)
    data = file.read_bytes()
    file.unlink()
    assert data.endswith(bytes(1024))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [
            (
                *(each.name, each.type, each.mode, each.uid, each.gid, each.uname, each.gname, each.size),
                *(each.linkname, each.devmajor, each.devminor, each.pax_headers, each.offset),
                each.mtime if each.mtime < 1_700_000_001 else "now",
                archive.extractfile(each).read() if each.isreg() else None,
            )
            for each in archive
        ]


def test_what_is_mounted_is_not_exported(three: tuple[Onggi, Onggi, Daemon]) -> None:
    """Of a running container too: its /proc, its hosts file, its shared memory."""
    for each in three:
        each.run("run", "-d", "--name", "mounts", *NONE, "two", "sleep", "600")
    seen = [export(each, "mounts") for each in three]
    assert seen[0] == seen[1] == seen[2]
    sizes = {member[0]: member[7] for member in seen[0]}
    assert sizes["etc/hosts"] == 0
    assert not [name for name in sizes if str(name).startswith(("proc/", "sys/", "dev/shm/"))]
    for each in three:
        each.run("rm", "-f", "mounts")


def test_errors(three: tuple[Onggi, Onggi, Daemon], tmp_path: Path) -> None:
    ours, _, theirs = three
    for each in (ours, theirs):
        each.run("create", "--name", "errors", *NONE, "two")
    for words in (("diff", "nobody"), ("export", "nobody"), ("export", "-o", "/nope/x.tar", "errors")):
        our, their = ours.run(*words, check=False), theirs.run(*words, check=False)
        assert our.returncode == their.returncode == 1
        said = their.stderr.strip().removeprefix("Error response from daemon: ").removeprefix("Error: ")
        assert our.stderr.removeprefix("Error: ").startswith(said.split("\n")[0])
    assert ours.output("diff", "errors") == theirs.output("diff", "errors") == ""


# Times of all that it leaves are its own, so the layer's bytes are, too.
FIXED = (
    "mkdir -p /d/e; echo f > /d/e/f; ln /d/e/f /d/again; ln -s f /d/e/l; mkfifo /d/p; mknod /d/n c 1 3;"
    "chown 2:10 /d/e/f; chmod 4750 /d/e/f; touch -d 195912310000.01 /d/p;"
    "name=$(printf %0120d 1); mkdir /d/$name; echo long > /d/$name/$name; echo u > /d/\u00e9;"
    "touch -h -d 202001020304.05 /d/$name/$name /d/$name /d/\u00e9 /d/e/* /d/n /d/e /d /w; sleep 600"
)
CHANGES = [
    *(
        "-c",
        'ENTRYPOINT ["/bin/x", "y"]',
        "-c",
        "ENV B=$Q/b C=3",
        "-c",
        "EXPOSE 80 53/udp",
        "-c",
        "LABEL z=1",
    ),
    *("-c", "USER bin", "-c", "VOLUME /vv", "-c", "WORKDIR rel", "-c", "ONBUILD RUN x"),
    *("-a", "An Author <a@b>", "-m", "a <message>"),
]


def test_commit(three: tuple[Onggi, Onggi, Daemon]) -> None:
    """The same layer, the same config, the same history, on both drivers."""
    words = ("--name", "committed", "-w", "/w", "-e", "Q=1", "-h", "host", "-l", "k=v", *NONE)
    documents, ids = [], []
    for each in three:
        ids.append(each.output("run", "-d", *words, "two", "sh", "-c", FIXED).strip())
    for each in three:
        deadline = time.monotonic() + 60
        while not re.search(r"\d sleep 600$", each.output("exec", "committed", "ps", "-o", "pid,args"), re.M):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    for each, id in zip(three, ids, strict=True):
        plain = each.output("commit", "committed").strip()
        named = each.output("commit", *CHANGES, "--pause=false", "committed", "made:1").strip()
        assert (
            each.output("inspect", "-f", "{{.State.Paused}} {{.State.Running}}", "committed")
            == "false true\n"
        )
        documents.append([_image(each, image, id) for image in (plain, named)])
        assert each.output("image", "inspect", "-f", "{{.Id}}", "made:1").strip() == named
        rows = each.output(
            "history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}|{{.Size}}", "made:1"
        )
        documents[-1].append(rows)
    assert documents[0] == documents[2]
    assert documents[1] == documents[2]
    # dockerd takes the image, and runs it.
    archive = three[0].data_root.parent / "made.tar"
    three[0].run("save", "-o", str(archive), "made:1")
    three[2].run("rmi", "made:1")
    three[2].run("load", "-i", str(archive))
    done = three[2].output("run", "--rm", *NONE, "--entrypoint", "/bin/cat", "made:1", "/d/e/f")
    assert done == "f\n"
    for each in three:
        each.run("rm", "-f", "committed")
    assert three[0].output("verify", "--all").endswith("nothing has changed\n")
    assert three[1].output("verify", "--all").endswith("nothing has changed\n")


def _image(engine: Onggi | Daemon, id: str, container: str) -> str:
    """The config's bytes, ids and times aside; its parent."""
    driver = next((engine.data_root / "image").iterdir())
    text = (driver / "imagedb/content/sha256" / id.removeprefix("sha256:")).read_text()
    parent = (driver / "imagedb/metadata/sha256" / id.removeprefix("sha256:") / "parent").read_text()
    text = re.sub(r"20\d\d-11-\d\dT[\d:.]+Z", "TIME", text.replace(container, "ID"))
    return re.sub(r'"docker_version":"[^"]*"', "", text) + parent


def test_an_unchanged_container_adds_no_layer(three: tuple[Onggi, Onggi, Daemon]) -> None:
    shown = []
    for each in three:
        each.run("create", "--name", "unchanged", *NONE, "two", "true")
        each.run("commit", "-m", "nothing", "unchanged", "unchanged")
        layers = each.output("image", "inspect", "-f", "{{json .RootFS.Layers}} {{.Comment}}", "unchanged")
        shown.append((layers, each.output("history", "--format", "{{.Size}} {{.Comment}}", "unchanged")))
        each.run("rm", "unchanged")
        each.run("rmi", "unchanged")
    assert shown[0] == shown[1] == shown[2]
    assert shown[0][1].startswith("0B nothing\n")


def test_the_layer_of_one_container_is_dockerds(tmp_path: Path, three: tuple[Onggi, Onggi, Daemon]) -> None:
    """One root, one container: committed by dockerd, then by us; deletions with their times and links."""
    story = ";".join(STORIES.values())
    mirror = three[2]._mirror
    with Daemon(tmp_path / "docker", tmp_path / "d", mirror=mirror) as daemon:
        daemon.run("pull", "-q", "two")
        daemon.run("run", "--name", "one", *NONE, "two", "sh", "-c", story, check=False)
        theirs = daemon.output("commit", "one").strip()
        layers = daemon.output("image", "inspect", "-f", "{{json .RootFS.Layers}}", theirs)
        changes = canonical(daemon.output("diff", "one").splitlines())
    ours = Onggi(daemon.data_root, three[0]._config)
    assert ours.output("diff", "one").splitlines() == changes
    made = ours.output("commit", "one", "made:here").strip()
    assert ours.output("image", "inspect", "-f", "{{json .RootFS.Layers}}", made) == layers
    assert any(line.startswith("D ") for line in changes) and len(changes) > 20


def test_errors_of_commit(three: tuple[Onggi, Onggi, Daemon]) -> None:
    ours, _, theirs = three
    digest = "sha256:" + "0" * 64
    for each in (ours, theirs):
        each.run("create", "--name", "bad", *NONE, "two")
    for words in (
        ("nobody",),
        ("bad", f"x@{digest}"),
        ("bad", "a::b"),
        ("-c", "RUN x", "bad"),
        ("-c", "ENV", "bad"),
    ):
        our, their = ours.run("commit", *words, check=False), theirs.run("commit", *words, check=False)
        assert our.returncode == their.returncode == 1
        said = their.stderr.strip().removeprefix("Error response from daemon: ").splitlines()[0]
        assert our.stderr.removeprefix("Error: ").startswith(said)


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_copies(three: tuple[Onggi, Onggi, Daemon], tmp_path: Path, state: str) -> None:
    """Exit status, words, and what is there afterwards on both sides."""
    source = source_tree(tmp_path / "source")
    name = f"copied-{state}"
    seen = []
    for number, each in enumerate((three[0 if state == "running" else 1], three[2])):
        words = ("-d", "--name", name) if state == "running" else ("--name", name)
        verb = "run" if state == "running" else "create"
        each.run(verb, *words, *NONE, "two", "sleep", "600")
        out = tmp_path / str(number)
        out.mkdir()
        said = played(each, name, source, out, 1 if state == "running" else 3)
        upper = Path(each.output("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", name).strip())
        seen.append((said, made_tree(out), made_tree(upper / "tmp")))
        each.run("rm", "-f", name)
    for ours, theirs in zip(*seen, strict=True):
        assert ours == theirs
    assert {status for _, status, _ in seen[0][0]} == {0, 1}


def test_tar_streams(three: tuple[Onggi, Onggi, Daemon], tmp_path: Path) -> None:
    """``-``: the same names; compressed ones are taken too."""
    source = source_tree(tmp_path / "source")
    packed = tmp_path / "packed.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(source, "put")
    seen = []
    for each in (three[0], three[2]):
        each.run("run", "-d", "--name", "streams", *NONE, "two", "sleep", "600")
        assert shell(each, f"cp - streams:/tmp < {packed}") == b""
        each.run("cp", str(source), "streams:/tmp/source")
        rows = []
        for path in ("/tmp/source", "/tmp/source/.", "/tmp/source/f", "/tmp/put/lnd", "/etc/hosts"):
            data = shell(each, f"cp streams:{path} -")
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                rows += [
                    (m.name, m.type, m.mode, m.uid, m.gid, m.uname, m.gname, m.linkname) for m in archive
                ]
        seen.append(rows)
        each.run("rm", "-f", "streams")
    assert seen[0] == seen[1]
    assert "put" not in {row[0] for row in seen[0]} and len(seen[0]) > 25


def shell(engine: Onggi | Daemon, words: str) -> bytes:
    """The command line with its streams as bytes."""
    if isinstance(engine, Daemon):
        program, environment = "docker", engine.environment
    else:
        program = f"{sys.executable} -m onggi --data-root {engine.data_root}"
        environment = onggi_environment(
            ONGGI_CONFIG=str(engine._config), ONGGI_EXEC_ROOT=str(engine._config.parent / "run")
        )
    done = subprocess.run(
        ["sh", "-c", f"{program} {words}"], env=environment, capture_output=True, check=True
    )
    return done.stdout


def test_volumes_and_read_only_roots(three: tuple[Onggi, Onggi, Daemon], tmp_path: Path) -> None:
    """A stopped container's, as dockerd left it: files go to and come from what is mounted."""
    for name in ("bind", "read"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "there").write_text(name)
    source = source_tree(tmp_path / "source")
    with Daemon(tmp_path / "docker", tmp_path / "d", mirror=three[2]._mirror) as daemon:
        daemon.run("pull", "-q", "two")
        mounts = ("-v", f"{tmp_path}/bind:/mnt/bind", "-v", f"{tmp_path}/read:/mnt/read:ro", "-v", "vol:/vol")
        daemon.run("run", "--name", "plain", *mounts, *NONE, "two", "true")
        daemon.run("create", "--name", "fixed", "--read-only", *mounts, *NONE, "two", "true")
    ours = Onggi(daemon.data_root, three[0]._config)
    for name in ("plain", "fixed"):
        ours.run("cp", f"{source}/f", f"{name}:/mnt/bind/{name}")
        ours.run("cp", f"{source}/f", f"{name}:/vol/{name}")
        ours.run("cp", f"{name}:/mnt/read/there", f"{tmp_path}/{name}")
        refused = ours.run("cp", f"{source}/f", f"{name}:/mnt/read/", check=False)
        assert refused.stderr.startswith("Error: mounted volume is marked read-only")
        assert (tmp_path / name).read_text() == "read"
        assert (tmp_path / "bind" / name).read_text() == "f"
        assert (daemon.data_root / "volumes/vol/_data" / name).read_text() == "f"
    ours.run("cp", f"{source}/f", "plain:/tmp/f")
    refused = ours.run("cp", f"{source}/f", "fixed:/tmp/f", check=False)
    assert refused.stderr.startswith("Error: container rootfs is marked read-only")
    ours.run("cp", "plain:/etc/hosts", f"{tmp_path}/hosts")
    assert "127.0.0.1" in (tmp_path / "hosts").read_text()
    assert ours.output("diff", "plain") == "A /mnt\nA /mnt/bind\nA /mnt/read\nC /tmp\nA /tmp/f\nA /vol\n"
    ours.run("rm", "plain", "fixed")


def test_top(three: tuple[Onggi, Onggi, Daemon]) -> None:
    ours, _, theirs = three
    seen = []
    for each in (ours, theirs):
        each.run("run", "-d", "--name", "busy", *NONE, "two", "sh", "-c", "sleep 600 & exec sleep 601")
        each.run("create", "--name", "idle", *NONE, "two")
        said = []
        for words in (
            *("busy", "busy aux", "busy -o pid,args", "busy m -eo pid,comm", "busy -o args", "busy -o x=PID"),
            *("busy -Q", "idle", "nobody"),
        ):
            done = each.run("top", *words.split(), check=False)
            text = re.sub(
                r"[0-9a-f]{64}", "ID", done.stdout + done.stderr.removeprefix("Error response from daemon: ")
            )
            text = without_hint(text.removeprefix("Error: "))
            text = re.sub(r"(?m)^(?:root +)?\d+ .*?(?=sleep)", "", text)
            said.append((words, done.returncode, text))
        seen.append(said)
        each.run("rm", "-f", "busy", "idle")
    assert seen[0] == seen[1]
    assert [status for _, status, _ in seen[0]] == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert "sleep 600" in seen[0][2][2] and "sleep 601" in seen[0][2][2]


UPDATES = (
    *("-m 32m", "-m 128m", "-m 128m --memory-swap 256m --cpus 0.5 --cpu-shares 77 --memory-reservation 10m"),
    *("--pids-limit 33 --cpuset-cpus 0", "--cpu-quota 20000", "--cpus 100", "-m 1m", "--cpuset-cpus 99"),
    *("--restart nope", "--restart on-failure:3", "", "--pids-limit -1"),
)
LIMITS = "cd /sys/fs/cgroup; cat memory*/memory.*limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us pids/pids.max cpuset/cpuset.cpus"


def test_update(three: tuple[Onggi, Onggi, Daemon]) -> None:
    """What is said, what the kernel holds, and what the files say, after each."""
    ours, _, theirs = three
    seen = []
    for each in (ours, theirs):
        each.run("run", "-d", "--name", "limited", "-m", "64m", *NONE, "two", "sleep", "600")
        each.run("create", "--name", "waiting", *NONE, "two")
        said = []
        for words in UPDATES:
            done = each.run("update", *words.split(), "limited", "waiting", check=False)
            text = done.stdout + done.stderr.replace("Error response from daemon: ", "").replace(
                "Error: ", ""
            )
            text = without_hint(re.sub(r"[0-9a-f]{64}", "ID", text))
            limits = each.output("exec", "limited", "sh", "-c", LIMITS)
            documents = json.loads(each.output("inspect", "limited", "waiting"))
            files = [document["HostConfig"] for document in documents]
            said.append((words, done.returncode, text, limits, files))
        seen.append(said)
        each.run("rm", "-f", "limited", "waiting")
    for mine, their in zip(*seen, strict=True):
        assert mine == their


def test_stats(three: tuple[Onggi, Onggi, Daemon]) -> None:
    """The same table; numbers of the same kind."""
    ours, _, theirs = three
    seen = []
    for each in (ours, theirs):
        each.run("run", "-d", "--name", "used", "-m", "64m", *NONE, "two", "sh", "-c", "while :; do :; done")
        each.run("create", "--name", "unused", *NONE, "two")
        rows = each.output("stats", "--no-stream", "used", "unused").splitlines()
        seen.append([re.sub(r"[0-9a-f]{12}|[\d.]+([kKMGi]*B|%)", "#", row).split() for row in rows])
        assert float(rows[1].split()[2].rstrip("%")) > 5
        missing = each.run("stats", "--no-stream", "nobody", check=False)
        assert missing.returncode == 1 and "No such container: nobody" in missing.stderr
        named = each.output(
            "stats", "--no-stream", "--no-trunc", "--format", "{{.Container}} {{.Name}} {{.PIDs}}", "used"
        )
        assert named == "used used 1\n"
        each.run("rm", "-f", "used", "unused")
    assert seen[0] == seen[1]
