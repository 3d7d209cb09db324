"""info, version, df, events, doctor, mounts, remote."""

from __future__ import annotations

import json
import re
import select
import signal
import subprocess
import sys

import pytest

from tests.peers.daemon import onggi_environment
from tests.peers.fixtures import Onggi


def test_info_in_dockers_layout(web: Onggi) -> None:
    lines = web.output("info").splitlines()
    assert lines[0] == "Client:"
    assert lines[lines.index("Server:") + 1 :][:6] == [
        " Containers: 0",
        "  Running: 0",
        "  Paused: 0",
        "  Stopped: 0",
        " Images: 2",
        " Server Version: 0.1.0",
    ]
    assert " Storage Driver: overlay2" in lines
    assert f" Docker Root Dir: {web.data_root}" in lines
    assert " Registry: https://index.docker.io/v1/" in lines
    assert lines[lines.index(" Labels:") + 1] == "  where=here"
    assert "  127.0.0.0/8" in lines
    assert not any(line.endswith(": ") or "None" in line for line in lines)


def test_info_formats(web: Onggi) -> None:
    assert web.output("info", "-f", "{{.Driver}} {{.Images}}") == "overlay2 2\n"
    assert web.output("system", "info", "-f", "{{.RegistryConfig.InsecureRegistryCIDRs}}") != ""
    whole = json.loads(web.output("info", "--format", "json"))
    assert whole["IndexServerAddress"] == "https://index.docker.io/v1/"
    done = web.run("info", "-f", "{{.Bogus}}", check=False)
    assert done.stderr.endswith("can't evaluate field Bogus in type system.dockerInfo\n")


def test_version(web: Onggi) -> None:
    assert re.search(r"^ Version: +0\.1\.0$", web.output("version"), re.M)
    assert web.output("version", "-f", "{{.Server.Version}} {{.Client.Version}}") == "0.1.0 0.1.0\n"
    assert set(json.loads(web.output("version", "--json"))) == {"Client", "Server"}


def test_df(web: Onggi) -> None:
    header, images, *_ = web.output("system", "df").splitlines()
    assert header.split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert images.split() == ["Images", "2", "0", "5.029kB", "5.029kB", "(100%)"]
    assert web.output("system", "df", "--format", "{{.Type}}").splitlines()[0] == "Images"
    document = json.loads(web.output("system", "df", "--json"))
    assert document["LayersSize"] == 5029
    assert sorted(image["UniqueSize"] for image in document["Images"]) == [7, 22]
    assert {image["SharedSize"] for image in document["Images"]} == {5000}


def test_df_verbose(web: Onggi) -> None:
    text = web.output("system", "df", "-v")
    assert text.startswith("Images space usage:\n\nREPOSITORY   TAG       IMAGE ID ")
    assert "5kB           22B" in text
    rows = json.loads(web.output("system", "df", "-v", "--format", "json"))["Images"]
    assert {row["Tag"] for row in rows} == {"v1", "v2"}
    assert (
        web.output("system", "df", "-v", "--format", "{{range .Images}}{{.Repository}} {{end}}")
        == "web web \n"
    )


def test_events_on_record(full: Onggi) -> None:
    full.run("tag", "web:v1", "other:1")
    lines = full.output("events", "--since", "0", "--until", "0s").splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)"
    assert all(re.fullmatch(rf"{stamp} image (pull|tag) \S+ \(.*name=.*\)", line) for line in lines)
    shown = full.output(
        "system", "events", "--since", "1h", "--until", "0s", "-f", "event=tag",
        "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.none}}",
    )  # fmt: skip
    assert shown == "image tag other:1 <no value>\n"
    (event,) = full.output(
        "events", "--since", "0", "--until", "0s", "-f", "event=tag", "--json"
    ).splitlines()
    assert json.loads(event)["Actor"]["Attributes"]["name"] == "other:1"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--since", "xx"], 'Error: failed to parse value as time or duration: "xx" ('),
        (["-f", "bogus=1", "--until", "0s"], "Error: invalid filter 'bogus' ("),
    ],
)
def test_events_errors(web: Onggi, words: list[str], text: str) -> None:
    done = web.run("events", *words, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(text)


def test_events_to_come_until_ctrl_c(full: Onggi) -> None:
    environment = onggi_environment(ONGGI_CONFIG=str(full._config))
    command = [sys.executable, "-m", "onggi", "--data-root", str(full.data_root), "events"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    line = b""
    for number in range(50):
        full.run("tag", "web:v1", f"later:{number}")
        if select.select([process.stdout], [], [], 0.2)[0]:
            line = process.stdout.readline()
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert b" image tag sha256:" in line
    assert (process.returncode, err) == (130, b"\n")


def test_doctor(web: Onggi) -> None:
    text = web.output("doctor")
    assert "✓ images" in text
    findings = json.loads(web.output("doctor", "--json"))
    assert {finding["Level"] for finding in findings} <= {"ok", "warn"}
    assert web.output("doctor", "--format", "{{.Level}}").split() == [
        finding["Level"] for finding in findings
    ]


def test_mounts(full: Onggi, tmp_path) -> None:
    assert full.output("image", "mount") == "MOUNT ID   IMAGE ID   IMAGE     MOUNTED   DIRECTORY\n"
    target = tmp_path / "here"
    target.mkdir()
    assert full.output("image", "mount", "web:v1", str(target)) == f"{target}\n"
    assert (target / "f").read_bytes() == b"x" * 22
    (record,) = json.loads(full.output("image", "mount", "--json"))
    assert (record["Reference"], record["Directory"]) == ("web:v1", str(target))
    chosen = full.output("image", "mount", "web:v2").strip()
    assert set(full.output("image", "umount", "--all").split()) == {str(target), chosen}
    done = full.run("image", "unmount", "web:v1", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: unmount web:v1: not mounted (")


def test_remote(web: Onggi) -> None:
    assert web.output("remote", "ls", "web") == "v1\nv2\n"
    assert json.loads(web.output("remote", "ls", "--json", "web")) == ["v1", "v2"]
    text = web.output("remote", "inspect", "web:v1")
    assert text.startswith("docker.io/library/web:v1\n  digest      sha256:")
    assert "\nlinux/amd64\n" in text
    document = json.loads(web.output("remote", "inspect", "--json", "web:v1"))
    (manifest,) = document["Manifests"]
    assert manifest["ImageID"] == web.output("images", "-q", "--no-trunc", "web:v1").strip()
    assert web.output("remote", "inspect", "-f", "{{.Digest}}", "web:v1").strip() == document["Digest"]
    assert json.loads(web.output("remote", "inspect", "--raw", "web:v1"))["schemaVersion"] == 2
