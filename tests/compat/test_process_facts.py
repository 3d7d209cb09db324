"""What a container's program is born with, besides its words: the same from dockerd and from Onggi.

Signals, descriptors, credentials, limits, session, priority: all that goes over fork and exec. The
kernel shows them below /proc. An odd caller must not be noticed inside.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.compat.pair import Pair, comparable
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("pair")]

_STATUS = "Umask|Uid|Gid|Groups|SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt|Cap|NoNew|Seccomp|Specul|Cpus|Mems"
# A shell looks at itself. Of stat: does it lead its group, session, terminal, the terminal's group, priorities.
_FACTS = f"""
cd /proc/$$
grep -E '^({_STATUS})' status
ls fd
for fd in 0 1 2; do readlink fd/$fd; done
set -- $(cat stat)
echo $(($5 == $$)) $(($6 == $$)) $7 $(($8 == $$)) ${{18}} ${{19}} ${{40}} ${{41}}
cat oom_score_adj coredump_filter personality
cut -c1-60 limits | grep -v pending
cat cgroup
tr '\\0' '\\n' < environ | sort
"""
_ODD = [sys.executable, "-m", "tests.compat.odd_caller"]


def _said(side: Onggi | Daemon, words: Sequence[str], before: Sequence[str] = ()) -> list[str]:
    """What a command says, with a terminal as its input, which ``-t`` wants."""
    main, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [*before, *side.command(*words)],
            stdin=terminal,
            capture_output=True,
            text=True,
            env={**os.environ, **side.environment},
            check=False,
        )
    finally:
        os.close(main)
        os.close(terminal)
    assert done.returncode == 0, done
    text = re.sub(r"pipe:\[\d+\]", "pipe", done.stdout.replace("\r", ""))
    return comparable(text, side.data_root).splitlines()


def _same(pair: Pair, *words: str) -> None:
    theirs = _said(pair.theirs, words)
    assert theirs
    assert _said(pair.ours, words) == theirs
    assert _said(pair.ours, words, _ODD) == theirs


@pytest.mark.parametrize("flags", ["", "-it --init -u user:extra --cap-add NET_ADMIN"])
def test_run(pair: Pair, flags: str) -> None:
    words = ["run", "--rm", "--network", "none", "--hostname", "born", *flags.split()]
    _same(pair, *words, "box", "sh", "-c", _FACTS)


@pytest.mark.parametrize("flags", ["", "-it -u user"])
def test_exec(pair: Pair, flags: str) -> None:
    pair.clear()
    for side, before in ((pair.ours, _ODD), (pair.theirs, [])):
        words = (
            "run",
            "-d",
            "--name",
            "born",
            "--network",
            "none",
            "--hostname",
            "born",
            "box",
            "sleep",
            "1000",
        )
        _said(side, words, before)
    _same(pair, "exec", *flags.split(), "born", "sh", "-c", _FACTS)
