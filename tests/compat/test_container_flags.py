"""Every flag of ``run`` and ``create``: its effect inside the container, and how it is refused.

The oracle is dockerd 20.10. What it and Onggi say is equal but for ids, times and places; a
message of Onggi is Docker's or the end of it, and may end with a hint.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.compat.cannot import CANNOT, Cannot
from tests.compat.effect_rows import BATCHES, EFFECTS, USUAL, Effect
from tests.compat.pair import Pair, Said, agrees, complaint, filled, host_files
from tests.compat.refusal_rows import RARE, REFUSED

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("pair")]

_MARK = "=== "


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    """What rows name by ``{…}``: files of the host, and a block device of it."""
    files = host_files(tmp_path_factory.mktemp("files"))
    disk = files / "disk"
    numbers = sorted(Path("/sys/block").iterdir())[0].joinpath("dev").read_text().split(":")
    os.mknod(disk, 0o060600, os.makedev(*map(int, numbers)))
    # Docker wants a device below /dev.
    node = Path("/dev") / f"onggi-{os.getpid()}"
    node.symlink_to(disk)
    yield {"files": str(files), "disk": str(node)}
    node.unlink()


def _sections(said: Said) -> list[str]:
    assert said.status == 0, said
    return [section.strip() for section in said.out.split(_MARK)[1:]]


def _probes(pair: Pair, flags: list[str], rows: list[Effect]) -> tuple[list[str], list[str]]:
    """What each row's probe said, in Onggi and in Docker; streams as one."""
    script = "\n".join(f"echo; echo '{_MARK}'; ( {row.probe} ) 2>&1 </dev/null" for row in rows)
    script += "\ntrue"
    words = ["run", "--rm", *([] if "--network" in flags else ["--network", "none"]), *flags]
    command = ["-c", script] if "--entrypoint" in flags else ["sh", "-c", script]
    ours, theirs = pair.both(*words, "box", *command, CALLER="called")
    assert agrees(ours.err, theirs.err), (ours.err, theirs.err)
    return _sections(ours), _sections(theirs)


@pytest.fixture(scope="module")
def plain(pair: Pair) -> dict[str, str]:
    """What Docker's container without flags says to each probe."""
    return dict(zip((row.probe for row in EFFECTS), _probes(pair, [], EFFECTS)[1], strict=True))


@pytest.mark.parametrize("batch", BATCHES)
def test_effects(pair: Pair, plain: dict[str, str], places: dict[str, str], batch: str) -> None:
    rows = [row for row in EFFECTS if row.batch == batch]
    flags = [word for row in rows for word in filled(row.flags, places)]
    ours, theirs = _probes(pair, flags, rows)
    different = [
        (row.flags, mine, other) for row, mine, other in zip(rows, ours, theirs, strict=True) if mine != other
    ]
    assert not different
    unseen = [row.flags for row, mine in zip(rows, ours, strict=True) if mine == plain[row.probe]]
    assert unseen == [row.flags for row in rows if row.flags in USUAL]


@pytest.mark.parametrize("row", CANNOT, ids=lambda row: row.flags)
def test_what_this_kernel_refuses(pair: Pair, row: Cannot) -> None:
    words = shlex.split(row.flags)
    ours, theirs = pair.both("run", "--rm", "--network", "none", *words, "box", "grep", "CapEff", _STATUS)
    assert theirs.status == 125
    assert complaint(theirs.err)[-1].endswith(row.reason.casefold())
    if row.clamped:
        assert ours.status == 0
        assert "WARNING: this host cannot give CAP_" in ours.err
    else:
        assert ours.status == theirs.status
        assert agrees(ours.err, theirs.err)


_STATUS = "/proc/self/status"


def _refused(table: str) -> list[str]:
    return table.strip().splitlines()


def _words(pair: Pair, line: str, places: Mapping[str, str]) -> list[str]:
    """What names no image, and is not about that, is about ``box true``."""
    words = pair.words(line, places)
    named = any(word.casefold().startswith("box") or word == "absent" for word in words)
    makes = words[0] in ("run", "create") and line not in _NO_IMAGE
    return [*words, "box", "true"] if makes and not named else words


_NO_IMAGE = ("run", "run --nope", "run --user", "create")


def _same_refusal(pair: Pair, words: list[str]) -> None:
    ours, theirs = pair.both(*words)
    assert (ours.status, ours.out) == (theirs.status, theirs.out), (ours, theirs)
    assert theirs.status != 0
    assert agrees(ours.err, theirs.err), f"\n{ours.err}\n{theirs.err}"


@pytest.mark.parametrize("line", _refused(REFUSED))
def test_refusals(pair: Pair, places: dict[str, str], line: str) -> None:
    _same_refusal(pair, _words(pair, line, places))


@pytest.mark.soak
@pytest.mark.parametrize("line", _refused(RARE))
def test_rare_refusals(pair: Pair, places: dict[str, str], line: str) -> None:
    _same_refusal(pair, _words(pair, line, places))
