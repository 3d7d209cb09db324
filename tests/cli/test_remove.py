from __future__ import annotations

import json
import re

import pytest

from tests.peers.fixtures import Onggi


def test_rmi_tells_every_effect(full: Onggi) -> None:
    output = full.output("rmi", "web:v1")
    assert re.fullmatch(
        r"Untagged: web:v1\nUntagged: web@sha256:.{64}\nDeleted: sha256:.{64}\nDeleted: sha256:.{64}\n"
        r"|Untagged: web:v1\nDeleted: sha256:.{64}\nDeleted: sha256:.{64}\n|Untagged: web:v1\n",
        output,
    )


def test_tag_and_untag(full: Onggi) -> None:
    assert full.output("tag", "web:v1", "x/y:z") == ""
    assert full.output("rmi", "x/y:z") == "Untagged: x/y:z\n"


def test_tag_errors(full: Onggi) -> None:
    done = full.run("tag", "web:v1", "Foo", check=False)
    assert done.returncode == 1
    assert done.stderr == (
        'Error parsing reference: "Foo" is not a valid repository/tag: '
        "invalid reference format: repository name (library/Foo) must be lowercase\n"
    )
    done = full.run("tag", "nope", "x", check=False)
    assert done.stderr.startswith("Error: No such image: nope:latest (")


def test_all_are_tried_and_errors_come_last(full: Onggi) -> None:
    done = full.run("image", "rm", "nope", "web:v1", "gone", check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("Untagged: web:v1\n")
    assert [line.split(" (")[0] for line in done.stderr.splitlines()] == [
        "Error: No such image: nope:latest",
        "Error: No such image: gone:latest",
    ]
    assert full.run("rmi", "-f", "nope", check=False).returncode == 0


def test_json(full: Onggi) -> None:
    effects = json.loads(full.output("rmi", "--json", "web:v1"))
    assert effects[0] == {"Untagged": "web:v1"}


@pytest.mark.parametrize(
    ("answer", "words", "question", "left"),
    [
        ("n\n", ["-a"], "WARNING! This will remove all images without at least one container", 2),
        ("", ["-a"], "WARNING! This will remove all images without at least one container", 2),
        ("yes\n", [], "WARNING! This will remove all dangling images.\n", 2),
        ("Y\n", [], "WARNING! This will remove all dangling images.\n", 2),
        ("y\n", ["-a"], "WARNING! This will remove all images without at least one container", 0),
    ],
)
def test_prune_asks(full: Onggi, answer: str, words: list[str], question: str, left: int) -> None:
    done = full.run("image", "prune", *words, stdin=answer)
    assert done.stdout.startswith(question)
    assert "Are you sure you want to continue? [y/N] " in done.stdout
    assert ("Total reclaimed space" in done.stdout) == (answer.lower() == "y\n")
    assert len(full.output("images", "-q").split()) == left


def test_prune_texts(full: Onggi) -> None:
    assert full.output("image", "prune", "-f") == "Total reclaimed space: 0B\n"
    output = full.output("image", "prune", "-af")
    assert output.startswith("Deleted Images:\nuntagged: web:v")
    assert output.endswith("\n\nTotal reclaimed space: 5.029kB\n")
    assert json.loads(full.output("image", "prune", "-af", "--json")) == {
        "ImagesDeleted": [],
        "SpaceReclaimed": 0,
    }
