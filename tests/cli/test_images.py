from __future__ import annotations

import json
import re

import pytest

from tests.peers.fixtures import Onggi


def test_table(web: Onggi) -> None:
    header, *rows = web.output("images").splitlines()
    assert header.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert re.fullmatch(r"web          v[12]        [0-9a-f]{12}   .+ ago   5\.0[12]kB", rows[0])
    assert len(rows) == 2


def test_quiet_and_full_ids(web: Onggi) -> None:
    short = web.output("images", "-q").split()
    full = web.output("image", "ls", "-q", "--no-trunc").split()
    assert [id.removeprefix("sha256:")[:12] for id in full] == short
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", id) for id in full)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["web"], 2),
        (["web:v1"], 1),
        (["web:v"], 0),
        (["nope"], 0),
        (["-f", "reference=w*"], 2),
        (["-f", "dangling=true"], 0),
        (["-f", "label=maintainer=NGINX"], 2),
        (["-f", "label=nope"], 0),
        (["--filter", "since=web:v1"], 0),
    ],
)
def test_filters(web: Onggi, words: list[str], count: int) -> None:
    assert len(web.output("image", "list", "-q", *words).split()) == count


def test_unknown_filter(web: Onggi) -> None:
    done = web.run("images", "-f", "bogus=1", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: invalid filter 'bogus' (")


def test_digests(full: Onggi) -> None:
    header, first, _ = full.output("images", "--digests").splitlines()
    assert header.split()[2] == "DIGEST"
    digest = re.search("sha256:[0-9a-f]{64}", first)[0]
    assert full.output("images", "--format", "{{.Digest}}", "web").splitlines().count(digest) == 1
    tag = first.split()[1]
    full.run("pull", "-q", f"web@{digest}")
    full.run("rmi", "--no-prune", f"web:{tag}")


def test_names_by_digest_only(empty: Onggi) -> None:
    digest = json.loads(empty.output("pull", "--plan", "--json", "web:v1"))["Digest"]
    empty.run("pull", "-q", f"web@{digest}")
    assert empty.output(
        "images", "--format", "{{.Repository}} {{.Tag}} [{{.Digest}}]"
    ) == f"web <none> [{digest}]\n" or (
        empty.output("images", "--format", "{{.Repository}} {{.Tag}}") == "web <none>\n"
    )
    assert empty.output("images", "--digests").splitlines()[1].split()[:3] == ["web", "<none>", digest]


def test_json_lines_are_dockers(web: Onggi) -> None:
    rows = [json.loads(line) for line in web.output("images", "--format", "json").splitlines()]
    assert list(rows[0]) == [
        "Containers", "CreatedAt", "CreatedSince", "Digest", "ID", "Repository", "SharedSize", "Size", "Tag",
        "UniqueSize", "VirtualSize",
    ]  # fmt: skip
    assert (rows[0]["Containers"], rows[0]["Digest"]) == ("N/A", "<none>")
    assert '"Digest":"\\u003cnone\\u003e"' in web.output("images", "--format", "{{json .}}")


def test_exact_json(web: Onggi) -> None:
    images = json.loads(web.output("images", "--json"))
    assert {tag for image in images for tag in image["RepoTags"]} == {"web:v1", "web:v2"}
    assert {image["Size"] for image in images} == {5022, 5007}
    assert images[0]["Created"] == "2026-01-02T03:04:05.678Z"


def test_table_template(web: Onggi) -> None:
    output = web.output("images", "--format", "table {{.Repository}}\\t{{.Tag}}", "web:v1")
    assert output == "REPOSITORY   TAG\nweb          v1\n"


def test_template_error(web: Onggi) -> None:
    done = web.run("images", "--format", "{{.Bogus}}", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        'template parsing error: template: :1:2: executing "" at <.Bogus>: '
        "can't evaluate field Bogus in type *formatter.imageContext\n"
    )


def test_only_the_names_that_match(full: Onggi) -> None:
    """Docker's daemon leaves an image's other names out, those by digest too."""
    full.run("tag", "web:v1", "other/name:1")
    shown = full.output("images", "--digests", "--format", "{{.Repository}}:{{.Tag}}", "other/name")
    assert shown == "other/name:1\n"
    assert "web:v1" in full.output("images", "--format", "{{.Repository}}:{{.Tag}}")
