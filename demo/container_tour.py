"""The steps with a container: a writable layer on top, what it changed, and an image made of that."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from demo.content import Content
from demo.programs import busybox
from demo.stage import Stage

__all__ = ["ContainerTour"]

_PAGE = "usr/share/nginx/html/index.html"
_WELCOME = "<h1>Welcome to nginx!</h1>\n"
_HELLO = "<h1>Hello from a layer</h1>\n"


@dataclass
class ContainerTour:
    """The walk from ``run`` to ``commit``, one method a step; needs nginx pulled, and leaves it as it was."""

    stage: Stage
    content: Content

    def walk(self) -> None:
        """All steps. Raises BrokenPromise at the first one that does not hold."""
        if busybox() is None or shutil.which("runc") is None:
            self.stage.tell(
                "12.-15. are about a container. It takes runc to run one and a static busybox to run in it:"
                " apt-get install runc busybox-static (make setup does, as root on Debian)."
            )
            return
        for step in (self.run, self.upper, self.others, self.commit):
            step()

    def run(self) -> None:
        stage = self.stage
        stage.tell(
            "12. A container: the same read-only stack with one writable layer on top. This one rewrites a"
            " page, writes a file nobody had, and removes one."
        )
        change = f"echo '{_HELLO.strip()}' > /{_PAGE}; echo 1 > /root/new; rm /etc/debian_version"
        stage.run(f'onggi run --name web --network none nginx sh -c "{change}"')
        shown = stage.run("onggi ps -a --format '{{.Names}} {{.Image}} {{.Status}}'")
        stage.promise(shown.startswith("web nginx Exited (0)"), "it has run, and is still there")
        shown = stage.run("onggi diff web")
        expected = [
            *("C /etc", "D /etc/debian_version", "C /root", "A /root/new", "C /usr", "C /usr/share"),
            *("C /usr/share/nginx", "C /usr/share/nginx/html", f"C /{_PAGE}"),
        ]
        stage.equal(
            sorted(shown.splitlines(), key=lambda line: line[2:]),
            expected,
            "a file changed, one added, one deleted, and the directories on the way to them",
        )

    def upper(self) -> None:
        stage = self.stage
        stage.tell(
            "13. All of that is in one directory, overlay2's upper one. A page was changed by copying it up"
            " first; what was deleted is a character device 0,0 that hides the file below."
        )
        template = "{{.GraphDriver.Data.UpperDir}}"
        upper = Path(stage.run(f"onggi inspect --format '{template}' web").strip())
        stage.enter(upper)
        found = sorted(stage.run("find . ! -type d").split())
        stage.equal(found, ["./etc/debian_version", "./root/new", f"./{_PAGE}"], "three files and no more")
        shown = stage.run("ls -l etc")
        stage.promise(
            re.search(r"^c.* 0, +0 .* debian_version$", shown, re.MULTILINE) is not None, "that is a whiteout"
        )
        stage.equal(
            stage.run(f"onggi image cat nginx /{_PAGE}"), _WELCOME, "and the image has its page as it came"
        )

    def others(self) -> None:
        stage = self.stage
        stage.tell("14. So another container of this image sees nothing of it, and the image is whole.")
        shown = stage.run(f"onggi run --rm --network none nginx cat /{_PAGE}")
        stage.equal(shown, _WELCOME, "the page of the image")
        stage.run("onggi verify nginx")

    def commit(self) -> None:
        stage = self.stage
        stage.tell("15. The writable layer made read-only: a fourth layer, an image of its own.")
        image = stage.run("onggi commit -m 'a page of our own' web web:v2").strip()
        stage.promise(re.fullmatch(r"sha256:[0-9a-f]{64}", image) is not None, "a new image id")
        _, newest, *_ = stage.run("onggi history web:v2").splitlines()
        stage.promise(newest.rstrip().endswith("a page of our own"), "a twelfth row of history")
        shown = stage.run("onggi layers web:v2")
        sharing = re.findall(r"shared with +(.*)", shown)
        stage.equal(len(sharing), 4, "four layers, three of them nginx's own")
        stage.promise(sharing[0] == "no other image" and "nginx:latest" in sharing[1], "the new one on top")
        shown = stage.run(f"onggi run --rm --network none web:v2 cat /{_PAGE}")
        stage.equal(shown, _HELLO, "and its containers begin with the new page")
        stage.run("onggi rm web")
        stage.run("onggi rmi web:v2")
        stage.equal(len(list(stage.layerdb.iterdir())), 3, "removed again, nginx stays")
