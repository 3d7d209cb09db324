"""Volumes and mounts: the same words to both, the same files, refusals, and sights inside the container."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.compat.explained import without_hint
from tests.peers.busybox import box_layer, box_layout
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi
from tests.peers.images import member, tar

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("volumes")]

HOST = Path(f"/tmp/onggi-test-{os.getpid()}")
MOUNTS = "grep -vE ' /(proc|sys|dev|etc)' /proc/self/mountinfo | awk '{print $5, $6}' | sort; "
TREE = "find %s -exec stat -c '%%n %%F %%a %%u %%g %%h %%s' {} + | grep -v '^/[^/]* directory' | sort; "

CREATED = {
    "anonymous": ["-v", "/anon", "-v", "/data/../other/", "box"],
    "of the image": ["vol"],
    "over the image": ["-v", "cv1:/data/", "--tmpfs", "/vol2:size=1m", "vol"],
    "named": ["-v", "cv2:/a", "-v", "cv3:/b:ro,nocopy", "-v", "cv2:/c:z", "box"],
    "binds": [
        *("-v", f"{HOST}:/a", "-v", f"{HOST}/new:/b:ro", "-v", f"{HOST}:/c:rslave,Z", "-v", "/:/host:ro"),
        *("-v", f"/{HOST}/./x/..:/d/e/..", "-v", "./here:/here", "box"),
    ],
    "mount volume": [
        *("--mount", "src=cv4,dst=/a", "--mount", "type=volume,dst=/b"),
        *("--mount", "type=volume,src=cv5,dst=/c,volume-nocopy,volume-label=a=b,volume-label=c,readonly"),
        *(
            "--mount",
            "src=cv6,dst=/d,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs",
            "box",
        ),
    ],
    "mount bind": [
        *("--mount", f"type=bind,src={HOST},dst=/a,readonly,bind-propagation=rslave"),
        *("--mount", f"type=bind,source={HOST},target=/b,ro=0,consistency=cached,bind-recursive=disabled"),
        *("--mount", "type=bind,src=.,dst=/c", "box"),
    ],
    "mount tmpfs": [
        *("--mount", "type=tmpfs,dst=/a,tmpfs-size=2m,tmpfs-mode=1700", "--mount", "type=tmpfs,dst=/b,ro"),
        *("--tmpfs", "/c:mode=700", "--mount", "src=cv7,dst=/c", "box"),
    ],
    "from others": ["--volumes-from", "giver:ro", "-v", "cv8:/data", "-v", "/more", "box"],
    "driver": ["--volume-driver", "local", "-v", "cv9:/a", "-v", "/b", "box"],
}
REFUSED = {
    "no section": ["-v", ":/a"],
    "root": ["-v", "/a:/"],
    "mode": ["-v", "/a:/b:zz"],
    "two modes": ["-v", "cv1:/a:ro,rw"],
    "relative": ["-v", "/a:b"],
    "only a mode": ["-v", "/a:ro"],
    "name": ["-v", "bad name:/x"],
    "home": ["-v", "~/x:/b"],
    "volume propagation": ["-v", "cv1:/x:shared"],
    "bind nocopy": ["-v", "/tmp:/x:nocopy"],
    "no source": ["--mount", "type=bind,source=/nope,target=/a"],
    "anonymous ro": ["--mount", "type=volume,target=/a,readonly"],
    "tmpfs source": ["--mount", "type=tmpfs,source=x,target=/a"],
    "type": ["--mount", "target=/a,type=zork"],
    "image": ["--mount", "target=/a,type=image,source=box"],
    "target": ["--mount", "type=bind,source=/tmp,target=a"],
    "propagation": ["--mount", "type=bind,src=/tmp,dst=/a,bind-propagation=zz"],
    "empty source": ["--mount", "type=bind,dst=/a"],
    "path for a name": ["--mount", "type=volume,src=/tmp,dst=/a"],
    "mount root": ["--mount", "type=tmpfs,dst=/"],
    "option": ["--mount", "src=cv1x,dst=/a,volume-opt=x"],
    "twice": ["-v", "cv1:/a", "-v", "cv2:/a"],
    "twice by both": ["-v", "cv1:/a", "--mount", "src=cv2,dst=/a"],
    "tmpfs too": ["-v", "cv1:/a", "--tmpfs", "/a"],
    "tmpfs relative": ["--tmpfs", "a"],
    "from nobody": ["--volumes-from", "nobody"],
    "from mode": ["--volumes-from", "giver:zz"],
    "over a file": ["-v", "/etc/passwd"],
    "named over a file": ["-v", "cv1y:/etc/passwd"],
}
MISTYPED = [
    "foo",
    "foo=bar",
    "type=bind,src=/tmp",
    "type=bind,src=/tmp,dst=/a,bind-recursive=foo",
    "type=volume,src=n,dst=/a,ro=maybe",
    "type=bind,src=/tmp,dst=/a,volume-nocopy=true",
    "type=volume,src=nn,dst=/a,bind-propagation=shared",
    "type=bind,src=/tmp,dst=/a,tmpfs-size=1",
    "type=tmpfs,dst=/a,tmpfs-size=zz",
    "type=tmpfs,dst=/a,tmpfs-mode=9",
    "type=bind,src=/tmp,dst=/a,bind-recursive=writable",
    "type=bind,src=/tmp,dst=/a,ro,bind-recursive=readonly",
    "type=volume,dst=/a,image-subpath=x",
    "",
]
# Each row: options, image, script. What it prints and its status are the same.
RUN = {
    "copied at first use": (["-v", "rv1:/data"], "vol", MOUNTS + TREE % "/data"),
    "not copied twice": (["-v", "rv1:/other/place"], "vol", "rm -r /other/place/*; echo 1 > /other/place/own"),
    "kept": (["-v", "rv1:/data"], "vol", MOUNTS + TREE % "/data"),
    "nocopy": (["-v", "rv2:/data:nocopy", "-v", "rv3:/srv/ro:ro"], "vol", MOUNTS + TREE % "/data"),
    "through links": (["-v", "rv4:/lnk", "-v", "rv5:/up/x"], "vol", MOUNTS + TREE % "/data /lnk/ /up/"),
    "of the image": ([], "vol", MOUNTS + TREE % "/data /vol2" + "touch /vol2/f && echo ok"),
    "depth": (
        ["--tmpfs", "/a:size=1m,mode=700", "--tmpfs", "/a/b", "-v", "rv6:/a/c", "-v", f"{HOST}:/a/c/d"],
        "box",
        MOUNTS + "ls /a /a/c; touch /a/c/d/touched",
    ),
    "read only": (
        ["--read-only", "-v", "rv6:/a", "--tmpfs", "/run", "--mount", "type=tmpfs,dst=/t,ro"],
        "box",
        MOUNTS + "for i in /a /run /t /etc/hosts / /dev/shm; do touch $i/x 2>&1; done",
    ),
    "files": (
        ["-v", f"{HOST}/file:/new/dir/file:ro", "-v", f"{HOST}/file:/etc/passwd"],
        "box",
        MOUNTS + "cat /new/dir/file /etc/passwd; echo x > /new/dir/file",
    ),
    "missing directory": (["-v", f"{HOST}/made/for/it:/a"], "box", "stat -c '%a %u %F' /a; touch /a/f"),
    "tmpfs": (
        [
            *("--mount", "type=tmpfs,dst=/a,tmpfs-size=1m,tmpfs-mode=1700", "--mount", "type=tmpfs,dst=/b,ro"),
            *("--tmpfs", "/c:exec,size=64k"),
        ],
        "box",
        MOUNTS + "df -k /a /c | awk '{print $2}'; stat -c %a /a /b /c",
    ),
    "not recursive": (["--mount", f"type=bind,src={HOST},dst=/h,bind-recursive=disabled"], "box", MOUNTS),
    "tmpfs volume": (
        ["--mount", "src=rv7,dst=/a,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=1m"],
        "box",
        MOUNTS + "df -k /a | awk '{print $1, $2}'; ls /a; touch /a/gone",
    ),
    "tmpfs volume again": (["-v", "rv7:/a"], "box", "df -k /a | awk '{print $1, $2}'; ls /a"),
    "bind volume": (
        [
            "--mount",
            f"src=rv8,dst=/a,volume-opt=type=none,volume-opt=device={HOST},volume-opt=o=bind,volume-label=l",
        ],
        "box",
        MOUNTS + "cat /a/file",
    ),
    "from another": (["--volumes-from", "giver"], "box", MOUNTS + "ls /data; touch /data/x; cat /vol2/x"),
    "from another, ro": (["--volumes-from", "giver:ro"], "box", MOUNTS + "touch /data/y /given/y"),
    "no such device": (["--mount", "src=rv9,dst=/a,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/no"],
                       "box", "true"),
    "no such type": (["--mount", "src=rv10,dst=/a,volume-opt=type=nofs,volume-opt=device=x,volume-opt=o=ro,a=b"],
                     "box", "true"),
    "not shared": (["-v", f"{HOST}/private:/a:rshared"], "box", "true"),
    "in a network file's place": (["-v", f"{HOST}/file:/etc/hosts:ro"], "box", "cat /etc/hosts"),
}  # fmt: skip


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Iterator[str]:
    """A registry with box, and vol: files where its volumes are, links, and a directory for others."""
    layout = box_layout(tmp_path_factory.mktemp("shelf") / "layout")
    files = [
        member("data", None, mode=0o1770, uid=5, gid=6, mtime=1600000000),
        member("data/f", b"content", mode=0o4640, uid=1000, gid=10, mtime=1600000001),
        member("data/sub", None, mode=0o700, uid=7),
        member("data/sub/hard", type=b"1", linkname="data/f"),
        member("data/link", type=b"2", linkname="/etc/passwd"),
        member("data/pipe", type=b"6", mode=0o622),
        member("data/null", type=b"3", mode=0o666, devmajor=1, devminor=3),
        member("lnk", type=b"2", linkname="/data"),
        member("up", type=b"2", linkname="../../../srv"),
        member("srv", None),
        member("srv/x", None),
        member("srv/x/deep", b"x"),
    ]
    config = {"Cmd": ["sh"], "Volumes": {"/data": {}, "/vol2": {}}}
    layout.image("library/vol:latest", [box_layer(), tar(files)], config=config)
    with serving(OCILayout(layout.directory)) as url:
        yield url


def onggi_on(directory: Path, url: str, data_root: Path | None = None) -> Onggi:
    directory.mkdir(exist_ok=True)
    config = directory / "daemon.json"
    config.write_text(json.dumps({"registry-mirrors": [url], "compat": "20.10"}))
    return Onggi(data_root or directory / "root", config)


@pytest.fixture(scope="module")
def both(tmp_path_factory, shelf: str) -> Iterator[tuple[Onggi, Daemon]]:
    """Onggi and dockerd, each with its own root, the same images and a container that gives volumes."""
    directory = tmp_path_factory.mktemp("both")
    ours = onggi_on(directory, shelf)
    shutil.rmtree(HOST, ignore_errors=True)
    HOST.mkdir()
    (HOST / "file").write_text("root:x:0:0::/:/bin/sh\n")
    (HOST / "private").mkdir()
    with Daemon(directory / "docker", directory / "d", mirror=shelf) as theirs:
        for peer in (ours, theirs):
            for image in ("box", "vol"):
                peer.run("pull", "-q", image)
            words = ("--name", "giver", "--network", "none", "-v", "given:/given", "-v", f"{HOST}:/h:ro")
            peer.run("run", *words, "vol", "sh", "-c", "echo given > /vol2/x")
        yield ours, theirs
    shutil.rmtree(HOST)


def normal(text: str, root: Path) -> str:
    text = text.replace(str(root), "ROOT")
    text = re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"overlay2/[0-9a-f]{64}", "LAYER", text)
    return re.sub(r"[0-9a-f]{64}", "ID", text)


@pytest.mark.parametrize("case", CREATED)
def test_the_same_options_leave_the_same_files(both: tuple[Onggi, Daemon], case: str) -> None:
    seen = []
    for peer in both:
        id = (
            peer.output("create", "--network", "none", "-h", "host", "--name", _name(case), *CREATED[case])
            .strip()
            .splitlines()[-1]
        )
        directory = peer.data_root / "containers" / id
        inspected = json.loads(peer.output("inspect", id))[0]
        # Docker's command line keeps several -v in a Go map, and sends them in any order.
        host_config = json.loads((directory / "hostconfig.json").read_text())
        for each in (host_config, inspected["HostConfig"]):
            each["Binds"] = sorted(each["Binds"] or ())
        document = (directory / "config.v2.json").read_text()
        inspected["Mounts"].sort(key=lambda mount: mount["Destination"])
        texts = [
            document,
            json.dumps(host_config),
            json.dumps(inspected["HostConfig"]),
            json.dumps(inspected["Mounts"]),
        ]
        seen.append([normal(text, peer.data_root) for text in texts])
    assert seen[0] == seen[1]


def _name(case: str) -> str:
    return f"c-{case.replace(' ', '-')}"


def complaint(text: str) -> str:
    """The reason, without who says it and the way out that Onggi adds."""
    line = next(line for line in text.splitlines() if line)
    line = re.sub(r"^(docker|onggi): ", "", line).removeprefix("Error response from daemon: ")
    line = re.sub(r"^.*error during container init: ", "", re.sub(": unknown.*$", "", line))
    return without_hint(line.removeprefix("Error: "))


@pytest.mark.parametrize("case", REFUSED)
def test_the_same_refusals(both: tuple[Onggi, Daemon], case: str) -> None:
    seen = []
    for peer in both:
        done = peer.run("create", "--network", "none", *REFUSED[case], "box", "true", check=False)
        seen.append((done.returncode, done.stdout, normal(complaint(done.stderr), peer.data_root)))
    assert seen[0] == seen[1]
    assert seen[0][0] in (1, 125)


def test_the_same_words_for_mounts_that_make_no_sense(both: tuple[Onggi, Daemon]) -> None:
    seen = []
    for peer in both:
        done = [peer.run("create", f"--mount={text}", "box", check=False) for text in MISTYPED]
        seen.append(
            [(each.returncode, re.sub(r" \(onggi.*", "", each.stderr.splitlines()[0])) for each in done]
        )
    assert seen[0] == seen[1]


def test_the_same_inside(both: tuple[Onggi, Daemon]) -> None:
    """In order: what one leaves in a volume the next one finds."""
    seen = []
    for peer in both:
        found = {}
        for case, (options, image, script) in RUN.items():
            words = ("run", "--rm", "--network", "none", *options, image, "sh", "-c", script)
            done = peer.run(*words, check=False)
            error = complaint(done.stderr) if done.returncode >= 125 else done.stderr
            found[case] = done.returncode, done.stdout, normal(error, peer.data_root)
        found["volumes"] = 0, peer.output("volume", "ls", "-q", "-f", "name=^rv"), ""
        seen.append(found)
    for case in (*RUN, "volumes"):
        assert (case, seen[0][case]) == (case, seen[1][case])


# Of ``volume``.
COMMANDS = [
    ("create", "c1", "--label", "a=b", "--label", "c"),
    ("create", "c1", "-o", "type=tmpfs", "-o", "device=tmpfs"),
    ("create", "--name", "c2", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m"),
    ("create", "c8", "--label", "a="),
    ("create", "c3", "-d", "nope"),
    ("create", "--name", "c3", "c4"),
    ("create", "x"),
    ("create", "c5", "-o", "foo=bar"),
    ("create", "c5", "-o", "o=ro"),
    ("create", "c7", "-o", "size=1m"),
    ("inspect", "c1", "nope", "c2"),
    (
        "inspect",
        "-f",
        "{{.Name}} {{.Mountpoint}} {{.Labels}} {{.Options}} {{.Scope}}",
        "c1",
        "c2",
        "given",
    ),
    ("ls", "-f", "name=^c[0-9]$"),
    ("ls", "-q", "-f", "label=a=b", "-f", "name=^c[0-9]$"),
    ("ls", "-q", "-f", "label=a=c"),
    ("ls", "-q", "-f", "dangling=false", "-f", "name=given"),
    (
        "ls",
        "-f",
        "driver=local",
        "-f",
        "name=^c8$",
        "--format",
        "{{.Driver}} {{.Labels}} {{.Size}} {{.Links}}",
    ),
    ("ls", "-f", "name=^c2$", "--format", "json"),
    ("ls", "-f", "name=^c2$", "--format", "table {{.Name}}\t{{.Mountpoint}}"),
    ("ls", "-f", "foo=bar"),
    ("ls", "-f", "dangling=x"),
    ("rm", "given"),
    ("rm", "-f", "given"),
    ("rm", "-f", "nope"),
    ("rm", "c2", "nope"),
    ("prune", "-f", "--filter", "label=q"),
    ("prune", "-f", "--filter", "until=1h"),
    ("prune", "-f", "--filter", "label=c"),
    ("prune",),
    ("ls", "-q", "-f", "name=^c[0-9]$"),
]


def test_the_same_commands(both: tuple[Onggi, Daemon]) -> None:
    """Each with its status, output and complaint; at last what is left."""
    seen = []
    for peer in both:
        found = []
        for words in COMMANDS:
            done = peer.run("volume", *words, check=False)
            lines = [line for line in done.stderr.splitlines() if line.startswith("Error")]
            error = [re.sub(r"\[ID.*\]", "[IDS]", normal(complaint(line), peer.data_root)) for line in lines]
            found.append((words, done.returncode, normal(done.stdout, peer.data_root), error))
        seen.append(found)
    for ours, theirs in zip(*seen, strict=True):
        assert ours == theirs


def test_what_goes_with_its_container(both: tuple[Onggi, Daemon]) -> None:
    """``--rm`` and ``rm -v`` take what nobody named, unless somebody else has it."""
    seen = []
    for peer in both:
        before = set(peer.output("volume", "ls", "-q").split())
        create = ("create", "--network", "none")
        peer.run(*create, "--name", "one", "-v", "/anon", "-v", "stays:/a", "vol", "true")
        peer.run(*create, "--name", "two", "--volumes-from", "one", "box", "true")
        counts = []
        for words in (("rm", "-v", "one"), ("rm", "-v", "two")):
            peer.run(*words)
            counts.append(len(set(peer.output("volume", "ls", "-q").split()) - before))
        peer.run("run", "--rm", "--network", "none", "-v", "/anon", "vol", "true")
        peer.run(*create, "--name", "three", "-v", "/anon", "box", "true")
        peer.run("rm", "three")
        counts.append(len(set(peer.output("volume", "ls", "-q").split()) - before))
        seen.append(counts)
    assert seen[0] == seen[1] == [4, 1, 2]


def test_volumes_go_from_one_to_the_other(tmp_path: Path, shelf: str) -> None:
    """Labels, options, contents and users, both ways, more than fit one page of the database."""
    ours = onggi_on(tmp_path, shelf)
    ours.run("pull", "-q", "vol")
    ours.run("volume", "create", "ours", "--label", "a=ö<b>", "-o", "type=tmpfs", "-o", "device=tmpfs")
    ours.run("create", "--network", "none", "--name", "has", "-v", "full:/data", "vol", "cat", "/data/f")
    before = json.loads(ours.output("volume", "inspect", *ours.output("volume", "ls", "-q").split()))
    with Daemon(ours.data_root, tmp_path / "d", mirror=shelf) as daemon:
        names = daemon.output("volume", "ls", "-q").split()
        assert json.loads(daemon.output("volume", "inspect", *names)) == before
        assert daemon.run("volume", "rm", "full", check=False).stderr.count("volume is in use")
        assert daemon.output("start", "-a", "has") == "content"
        for number in range(60):
            daemon.run("volume", "create", f"theirs{number}", "--label", f"{number}={'x' * 100}")
        daemon.run("volume", "rm", "ours")
        names = daemon.output("volume", "ls", "-q").split()
        after = json.loads(daemon.output("volume", "inspect", *names))
    assert json.loads(ours.output("volume", "inspect", *names)) == after
    ours.run("volume", "rm", *(f"theirs{number}" for number in range(0, 60, 2)))
    ours.run("volume", "create", "late", "--label", f"big={'y' * 9000}")
    ours.run("rm", "-v", "has")
    names = ours.output("volume", "ls", "-q").split()
    last = json.loads(ours.output("volume", "inspect", *names))
    with Daemon(ours.data_root, tmp_path / "e", mirror=shelf) as daemon:
        assert daemon.output("volume", "ls", "-q").split() == names
        assert json.loads(daemon.output("volume", "inspect", *names)) == last
        daemon.run("volume", "create", "again")
