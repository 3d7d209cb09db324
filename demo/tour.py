"""The steps: from the name an image is pulled by to the files it is made of, and back to nothing."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from demo.container_tour import ContainerTour
from demo.content import BASE_DIRECTORIES, PACKAGE_LIST, Content
from demo.stage import Stage, say

__all__ = ["Tour"]

_DIRECTORIES = [
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "media",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
]


@dataclass
class Tour:
    """The walk over ``content`` on ``stage``, one method a step, in order."""

    stage: Stage
    content: Content

    def walk(self) -> None:
        """All steps. Raises BrokenPromise at the first one that does not hold."""
        for step in (
            self.pull,
            self.five_names,
            self.info,
            self.layerdb,
            self.inspect,
            self.chain_ids,
            self.files,
            self.shared,
            self.explain,
            self.history,
            self.mount,
            ContainerTour(self.stage, self.content).walk,
            self.remove,
        ):
            step()

    # --- names ----------------------------------------------------------------------------

    def pull(self) -> None:
        stage = self.stage
        stage.tell(
            "1. A pull. Asked for is nginx:latest; what comes is docker.io/library/nginx:latest. The ids of"
            " the three parts are digests of the compressed layers, as the registry keeps them."
        )
        shown = stage.run_in_terminal("onggi pull nginx:latest")
        expected = ["latest: Pulling from library/nginx"]
        expected += [f"{self._short(blob)}: Pull complete" for blob in self.content.blobs]
        expected += [
            f"Digest: {self.content.index}",
            "Status: Downloaded newer image for nginx:latest",
            "docker.io/library/nginx:latest",
        ]
        stage.equal(shown.splitlines(), expected, "three layers, the digest, the status, the full name")

    def five_names(self) -> None:
        stage = self.stage
        stage.tell(
            "2. One image, five spellings. library is where Docker Hub keeps its official images, docker.io"
            " is the registry when none is named, and a digest says which bytes, whatever the tag points to."
        )
        for name in (
            "nginx:latest",
            f"nginx@{self.content.index}",
            "library/nginx:latest",
            "docker.io/library/nginx:latest",
            "index.docker.io/library/nginx:latest",
        ):
            shown = stage.run(f"onggi pull -q {name}")
            stage.promise(shown.startswith("docker.io/library/nginx"), "is a name in docker.io/library/nginx")
            shown = stage.run(f"onggi image inspect --format '{{{{.Id}}}}' {name}")
            stage.equal(shown.strip(), self.content.image_id, "is this one image")
        stage.run("onggi images")

    # --- where things lie -----------------------------------------------------------------

    def info(self) -> None:
        stage = self.stage
        stage.tell("3. The engine about itself. There is no daemon: the command reads it from the data root.")
        shown = stage.run("onggi info")
        stage.promise(
            "\n Registry: https://index.docker.io/v1/\n" in shown, "the default registry is Docker Hub"
        )
        stage.promise(f"\n Docker Root Dir: {stage.data_root}\n" in shown, "the data root is the tour's own")
        stage.equal(
            stage.run("onggi info | grep Storage"), " Storage Driver: overlay2\n", "the driver is overlay2"
        )

    def layerdb(self) -> None:
        stage = self.stage
        stage.tell(
            "4. Where the layers are. image/overlay2/layerdb/sha256 has one directory for each layer, and"
            " none of them is called like anything that pull printed: those were ids of the registry's side."
        )
        stage.enter(stage.layerdb)
        names = stage.run("ls").split()
        stage.equal(len(names), 3, "three layers, three directories")
        printed = {self._short(blob) for blob in self.content.blobs}
        stage.promise(not printed & {name[:12] for name in names}, "none is named as a blob")
        base = self._hex(self.content.diff_ids[0])
        stage.enter(stage.layerdb / base)
        listed = stage.run("ls -al")
        found = re.findall(r"^-rw-r--r-- .* (\S+)$", listed, re.MULTILINE)
        stage.equal(
            found, ["cache-id", "diff", "size", "tar-split.json.gz"], "the four files of a base layer"
        )
        above = sorted(set(names) - {base})[0]
        stage.promise((stage.layerdb / above / "parent").exists(), "a layer above has a fifth one: parent")

    def inspect(self) -> None:
        stage = self.stage
        stage.tell(
            "5. The image's own list of its layers, RootFS. These are diffIDs: digests of the uncompressed"
            " archives, the same on every machine however they were compressed on the way."
        )
        shown = stage.run("onggi image inspect --format '{{json .RootFS}}' nginx")
        stage.equal(
            json.loads(shown),
            {"Type": "layers", "Layers": list(self.content.diff_ids)},
            "the digests of the three archives that this tour has packed",
        )
        directories = [(stage.layerdb / self._hex(diff)).is_dir() for diff in self.content.diff_ids]
        stage.equal(
            directories, [True, False, False], "only the first is the name of a directory in layerdb: why?"
        )

    def chain_ids(self) -> None:
        stage = self.stage
        stage.tell(
            "6. Because a layer means something only on top of what is below it. The directory is called by"
            " the chainID: for the base layer its diffID, above it the sha256 of the text"
            " 'parent-chainID diffID'. By hand, with sha256sum:"
        )
        chain = self.content.diff_ids[0]
        stage.promise((stage.layerdb / self._hex(chain)).is_dir(), f"layer 1: {chain}")
        for number, diff in enumerate(self.content.diff_ids[1:], start=2):
            shown = stage.run(f"printf '%s %s' {chain} {diff} | sha256sum")
            parent, chain = chain, f"sha256:{shown.split()[0]}"
            stage.equal(
                (stage.layerdb / self._hex(chain) / "parent").read_text(),
                parent,
                f"layer {number}: that directory is there, and its parent is the layer below",
            )

    def files(self) -> None:
        stage = self.stage
        stage.tell(
            "7. The files themselves. cache-id names a directory under overlay2. It is random: another one on"
            " every machine and after every pull, so it identifies nothing but a place."
        )
        base = stage.layerdb / self._hex(self.content.diff_ids[0])
        stage.enter(base)
        cache_id = stage.run("cat cache-id").strip()
        stage.promise(re.fullmatch(r"[0-9a-f]{64}", cache_id) is not None, "sixty-four hexadecimal digits")
        stage.enter(stage.data_root / "overlay2" / cache_id / "diff")
        shown = stage.run_in_terminal("ls")
        stage.equal(
            sorted(shown.split()),
            [*BASE_DIRECTORIES],
            "Debian's root directory: the base is debian:buster-slim",
        )

    # --- who, what, why -------------------------------------------------------------------

    def shared(self) -> None:
        stage = self.stage
        stage.tell(
            "8. A layer is kept once for all images that have it. nginx stands on debian:buster-slim, so that"
            " image costs nothing but its name; whoever changed files in there would change both."
        )
        shown = stage.run("onggi pull debian:buster-slim")
        base = self._short(self.content.blobs[0])
        stage.promise(f"{base}: Already exists\n" in shown, "nothing was fetched")
        stage.equal(len(list(stage.layerdb.iterdir())), 3, "and there are three layers as before")
        shown = stage.run("onggi layers nginx")
        sharing = re.findall(r"shared with +(.*)", shown)
        stage.equal(
            sharing,
            ["no other image", "no other image", "debian:buster-slim"],
            "layer 1 belongs to both images",
        )
        for word in (*self.content.blobs, *self.content.diff_ids):
            if self._short(word) not in shown:
                stage.promise(False, f"{word} is among the names of a layer")
        stage.promise(True, "each layer under all its names: blob, diffID, chainID, cache-id, directories")

    def explain(self) -> None:
        stage = self.stage
        stage.tell("9. Any of these ids, in full or in part, can be asked what it is.")
        top = self.content.blobs[2]
        shown = stage.run(f"onggi explain {self._short(top)}")
        stage.promise(shown.startswith(f"blob  {top}\n"), "what pull printed is a blob")
        shown = stage.run(f"onggi explain {self.content.diff_ids[1]}")
        stage.promise("nginx:latest (layer 2 of 3)" in shown, "and what inspect printed is layer 2 of nginx")
        base = stage.layerdb / self._hex(self.content.diff_ids[0])
        cache_id = (base / "cache-id").read_text()
        shown = stage.run(f"onggi explain {stage.data_root}/overlay2/{cache_id}/diff/etc/os-release")
        stage.promise("debian:buster-slim" in shown, "a path says whose file it is")

    def history(self) -> None:
        stage = self.stage
        stage.tell(
            "10. How the image was made: eleven steps. Only ADD and RUN wrote files and left a layer. CMD,"
            " LABEL, ENV, EXPOSE and STOPSIGNAL changed what the image says of itself: 0B, and no layer."
        )
        header, *rows = stage.run("onggi history nginx:latest").splitlines()
        stage.equal(len(rows), 11, "eleven rows")
        first = self._short(self.content.image_id)
        stage.equal(
            [row.split()[0] for row in rows], [first] + ["<missing>"] * 10, "one image, ten steps of no image"
        )
        by, size, end = (header.index(title) for title in ("CREATED BY", "SIZE", "COMMENT"))
        writing = [row for row in rows if row[size:end].strip() != "0B"]
        stage.equal(len(writing), 3, "three of them have a size, as pull has shown three layers:")
        for number, row in zip((3, 2, 1), writing, strict=True):
            say(f"      layer{number} {row[by:end].rstrip()}")
        stage.promise(writing[0].rstrip().endswith("22B"), "the links to stdout and stderr: 22 bytes")

    # --- the stack ------------------------------------------------------------------------

    def mount(self) -> None:
        stage = self.stage
        stage.tell(
            "11. The layers as one: stacked from the base up, read-only, without a container. What a layer"
            " above has removed is not there any more, though the file lies in the base layer as before."
        )
        root = Path(stage.run("onggi image mount nginx").strip())
        try:
            self._look_around(root)
        finally:
            stage.run("onggi image unmount nginx")
        stage.promise(not root.is_mount(), "and it is gone again")

    def _look_around(self, root: Path) -> None:
        stage = self.stage
        stage.enter(root)
        shown = stage.run_in_terminal("ls")
        stage.equal(sorted(shown.split()), [*BASE_DIRECTORIES], "the base layer's directories")
        shown = stage.run("ls -l var/log/nginx usr/sbin")
        stage.promise("access.log -> /dev/stdout" in shown, "layer 3 has put links over layer 2's log files")
        first, second = (root / "usr/sbin" / name for name in ("nginx", "nginx-debug"))
        stage.promise(first.samefile(second), "layer 2's hard link is one file with two names")
        base = (stage.layerdb / self._hex(self.content.diff_ids[0]) / "cache-id").read_text()
        stage.promise(
            (stage.data_root / "overlay2" / base / "diff" / PACKAGE_LIST).exists(), "in the base layer"
        )
        stage.promise(
            not (root / PACKAGE_LIST).exists(), "and hidden by layer 2's whiteout: the package list"
        )
        stage.run("touch usr/changed", fails=True)

    def remove(self) -> None:
        stage = self.stage
        stage.tell("16. Removed: first nginx's name, then the layers that no other image needs.")
        shown = stage.run("onggi rmi nginx:latest")
        chain = self._chains()
        expected = ["Untagged: nginx:latest", f"Untagged: nginx@{self.content.index}"]
        expected += [f"Deleted: {self.content.image_id}", f"Deleted: {chain[2]}", f"Deleted: {chain[1]}"]
        stage.equal(shown.splitlines(), expected, "two layers went, from the top; debian keeps the base")
        stage.run("onggi rmi debian:buster-slim")
        stage.equal(list(stage.layerdb.iterdir()), [], "now there is none left")
        left = [path.name for path in (stage.data_root / "overlay2").iterdir() if path.name != "l"]
        stage.equal(left, [], "and no files of any")

    # --- ids ------------------------------------------------------------------------------

    def _chains(self) -> list[str]:
        chains = [self.content.diff_ids[0]]
        for diff in self.content.diff_ids[1:]:
            chains.append("sha256:" + hashlib.sha256(f"{chains[-1]} {diff}".encode()).hexdigest())
        return chains

    @staticmethod
    def _hex(digest: str) -> str:
        return digest.partition(":")[2]

    @classmethod
    def _short(cls, digest: str) -> str:
        return cls._hex(digest)[:12]
