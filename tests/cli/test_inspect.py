from __future__ import annotations

import json

import pytest

from tests.peers.fixtures import Onggi


def test_array_is_indented_by_four(web: Onggi) -> None:
    output = web.output("image", "inspect", "web:v1")
    assert output.startswith('[\n    {\n        "Id": "sha256:')
    assert output.endswith("\n    }\n]\n")
    (image,) = json.loads(output)
    assert image["RepoTags"] == ["web:v1"]
    assert image["Config"]["Labels"] == {"maintainer": "NGINX"}
    assert len(json.loads(web.output("inspect", "web:v1", "web:v2"))) == 2


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("{{.Size}} {{.Os}}/{{.Architecture}}{{.Variant}}", "5022 linux/amd64"),
        ("{{.Config.User}}|{{.Config.Entrypoint}}|{{.Config.Healthcheck}}|{{.Config.Volumes}}", "|[]|<nil>|map[]"),
        ("{{.Config.Labels.none}}|{{index .Config.Labels `none`}}|{{.Config.Labels.maintainer}}", "<no value>||NGINX"),
        ("{{json .Config.Cmd}} {{join .Config.Env `,`}}", '["nginx","-g","daemon off;"] A=1,B=2'),
        ("{{.Metadata.LastTagTime}} {{json .Metadata}}",
         '0001-01-01 00:00:00 +0000 UTC {"LastTagTime":"0001-01-01T00:00:00Z"}'),
        ("{{.GraphDriver.Name}} {{.RootFS.Type}} {{len .RootFS.Layers}}", "overlay2 layers 2"),
        ("{{range .RepoTags}}{{.}}{{end}}", "web:v1"),
    ],
)  # fmt: skip
def test_templates(web: Onggi, format: str, text: str) -> None:
    assert web.output("inspect", "-f", format, "web:v1") == text + "\n"


def test_json_format(web: Onggi) -> None:
    whole = json.loads(web.output("inspect", "web:v1"))
    assert json.loads(web.output("inspect", "-f", "json", "web:v1")) == whole
    assert json.loads(web.output("inspect", "-f", "{{json .}}", "web:v1")) == whole[0]
    assert web.output("inspect", "-f", "json", "web:v1").count("\n") == 1


@pytest.mark.parametrize("format", ["{{.Bogus}}", "{{.RootFS.Bogus}}"])
def test_unknown_fields(web: Onggi, format: str) -> None:
    done = web.run("inspect", "-f", format, "web:v1", check=False)
    assert (done.returncode, done.stdout) == (1, "\n")
    assert done.stderr.endswith('map has no entry for key "Bogus"\n')


def test_what_is_not_there_is_told_after_what_is(web: Onggi) -> None:
    done = web.run("image", "inspect", "nope", "web:v1", "gone:1", check=False)
    assert done.returncode == 1
    assert len(json.loads(done.stdout)) == 1
    assert [line.split(" (")[0] for line in done.stderr.splitlines()] == [
        "Error: No such image: nope:latest",
        "Error: No such image: gone:1",
    ]


def test_inspect_of_any_type(web: Onggi) -> None:
    done = web.run("inspect", "nope", check=False)
    assert (done.returncode, done.stdout) == (1, "[]\n")
    assert done.stderr.startswith("Error: No such object: nope (")
    assert web.run("inspect", "-f", "{{.Id}}", "nope", check=False).stdout == "\n"
    assert web.run("inspect", "--type", "image", "nope", check=False).stderr.startswith(
        "Error: No such image"
    )
    other = web.run("inspect", "--type", "shelf", "web:v1", check=False)
    assert other.returncode == 1
    assert other.stderr.startswith('unknown type: "shelf": must be one of "container"')
