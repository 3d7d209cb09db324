import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onggi.linux.process import CAPABILITIES, bounding_set, drop_capabilities, effective_set


def python(code):
    """Run code in a process of its own, since what it gives up is gone."""
    command = [sys.executable, "-c", "from onggi.linux.process import *\n" + code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def status_field(name, pid="self"):
    text = Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[1] for line in text.splitlines() if line.startswith(name + ":"))


def names(mask):
    return {name for number, name in enumerate(CAPABILITIES) if int(mask, 16) >> number & 1}


def test_what_is_held_now():
    assert effective_set() == names(status_field("CapEff"))
    assert bounding_set() == names(status_field("CapBnd"))


def test_drop():
    out = python(
        "drop_capabilities(['CAP_CHOWN', 'CAP_MKNOD'])\n"
        "print(sorted(effective_set()), sorted(bounding_set()))\n"
        "print(open('/proc/self/status').read())\n"
    )
    sets, status = out.split("\n", 1)
    assert sets == "['CAP_CHOWN', 'CAP_MKNOD'] ['CAP_CHOWN', 'CAP_MKNOD']"
    fields = dict(line.split(":\t") for line in status.splitlines() if line.startswith(("Cap", "NoNewPrivs")))
    assert names(fields["CapPrm"]) == {"CAP_CHOWN", "CAP_MKNOD"}
    assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


def test_what_is_dropped_is_missing(tmp_path):
    code = "import os\ndrop_capabilities(['CAP_CHOWN'])\n"
    code += f"try: os.mknod({str(tmp_path / 'n')!r}, 0o20600, 0x103)\n"
    assert python(code + "except PermissionError: print('refused')") == "refused\n"


def test_dropping_all_and_twice():
    assert (
        python("drop_capabilities([]); drop_capabilities(['CAP_CHOWN']); print(len(effective_set()))")
        == "0\n"
    )


def test_unknown_names_change_nothing():
    before = effective_set()
    with pytest.raises(ValueError, match="CAP_NONE"):
        drop_capabilities(["CAP_NONE"])
    assert effective_set() == before
    assert status_field("NoNewPrivs") == "0"


def test_a_child_ends_with_its_parent():
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, signal, time\n"
            "from onggi.linux.process import set_parent_death_signal\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    set_parent_death_signal(signal.SIGKILL)\n"
            "    print(os.getpid(), flush=True)\n"
            "    time.sleep(60)\n"
            "time.sleep(60)\n",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or status_field("State", child) == "Z":
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the child lives on")
