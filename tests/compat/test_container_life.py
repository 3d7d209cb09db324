"""What containers live through, told alike by dockerd and Onggi: every command, state and error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.compat.conversation import differences
from tests.compat.life_rows import CONVERSATIONS, RARE_CONVERSATIONS
from tests.compat.pair import Pair, agrees, host_files
from tests.peers.processes import wait_until

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("pair")]


def _hold(pair: Pair, text: str, places: Mapping[str, str]) -> None:
    pair.clear()
    different = differences(pair, text, places)
    assert not different, "\n".join(["", *different])


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    return {"files": str(host_files(tmp_path_factory.mktemp("files")))}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations(pair: Pair, places: dict[str, str], name: str) -> None:
    _hold(pair, CONVERSATIONS[name], places)


@pytest.mark.soak
@pytest.mark.parametrize("name", RARE_CONVERSATIONS)
def test_rare_conversations(pair: Pair, places: dict[str, str], name: str) -> None:
    _hold(pair, RARE_CONVERSATIONS[name], places)


def test_files_with_ids(pair: Pair, tmp_path: Path) -> None:
    """One directory a side: both write, and both refuse what is there already."""
    for side in (pair.ours, pair.theirs):
        file = tmp_path / type(side).__name__
        made = side.run("create", "--network", "none", "--cidfile", str(file), "box")
        assert file.read_text() == made.stdout.strip()
        again = side.run("run", "--network", "none", "--cidfile", str(file), "box", check=False)
        assert again.returncode == 125
        assert (
            "container ID file found, make sure the other container isn't running or delete" in again.stderr
        )
        file.unlink()
        assert (
            side.run("run", "--cidfile", str(file), "--pull", "never", "absent", check=False).returncode
            == 125
        )
        assert not file.exists()


def test_an_image_for_another_machine(pair: Pair) -> None:
    """It is made, with a warning; what runs in it is the kernel's affair."""
    ours, theirs = pair.both("create", "--network", "none", "far")
    assert (ours.status, ours.out) == (theirs.status, theirs.out)
    assert ours.err.startswith("WARNING: The requested image's platform (linux/s390x) does not match")
    assert agrees(ours.err, theirs.err)


def test_what_no_command_line_for_20_10_sends(pair: Pair) -> None:
    """API 1.41 knows no annotations, and no signal for stop and restart: there is no oracle, only the effect."""
    ours = pair.ours
    box = (
        "--network",
        "none",
        "box",
        "sh",
        "-c",
        "trap 'echo hup; exit 6' HUP; echo up; while :; do sleep 0.1; done",
    )
    ours.run("run", "-d", "--name", "noted", "--annotation", "org.example=kept", *box)
    id = ours.output("inspect", "-f", "{{.Id}}", "noted").strip()
    bundle = ours.run_directory / "containers" / id / "config.json"
    assert '"annotations": {"org.example": "kept"}' in bundle.read_text()
    wait_until(lambda: ours.output("logs", "noted") == "up\n", "its trap")
    ours.run("stop", "-s", "HUP", "noted")
    assert ours.output("wait", "noted") == "6\n"
    ours.run("start", "noted")
    wait_until(lambda: ours.output("logs", "noted") == "up\nhup\nup\n", "its trap")
    ours.run("restart", "-s", "HUP", "noted")
    assert ours.output("logs", "noted").startswith("up\nhup\nup\nhup\n")
    ours.run("rm", "-f", "noted")
