"""What is done at a terminal: one row a command line, with what is typed once something is seen.

Rows of one table share their containers, in this order. ``before`` and ``after`` are command lines
without a terminal, compared like those of ``life_rows.py``.
"""

from __future__ import annotations

from signal import SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGWINCH, Signals

from onggi.record import record
from tests.peers.terminal import Size

__all__ = ["RAW", "TALKS", "Talk"]

Deed = bytes | Size | Signals
RAW = ""
"""In place of a pattern: once the terminal has been made raw."""


@record
class Talk:
    """``steps``: once a pattern is seen, keys are typed, the size changes, or the client gets a signal.

    ``stdin`` is a pipe in place of the keyboard, ``config`` the text of the client's config.json.
    ``refused``: what is said is Docker's message or its end.
    """

    line: str
    steps: tuple[tuple[str, Deed], ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    stdin: bytes | None = None
    config: str = ""
    refused: bool = False


_FOREVER = "while :; do sleep 0.1; done"
_READY = f"echo ready; {_FOREVER}"
_ECHO = "echo ready; read a; echo [$a]"
_SIZES = (
    'until [ "$(stty size 2>/dev/null)" = "24 80" ]; do sleep 0.1; done; '
    f'trap "stty size; exit 5" WINCH; {_READY}'
)
_KEYS = b"\x10\x11"
_CTRL_C = b"\x03"
_OWN = '{"detachKeys": "%"}'


def _trap(name: str) -> str:
    return f'trap "echo got {name}; exit 7" {name}; {_READY}'


def _runs(name: str) -> tuple[str]:
    return (f"inspect -f {{{{.State.Running}}}} {name}",)


_RUN = (
    Talk("run -it --name ended box sh -c 'echo one; exit 4'", after=("logs ended",)),
    Talk("run -it --rm box sh -c 'echo ready; kill -9 1; kill -9 $$; exit 3'"),
    Talk(f"run -it --rm box sh -c '{_trap('INT')}'", (("ready", _CTRL_C),)),
    Talk(
        "run -it --rm box sh -c 'stty raw -echo; echo ready; head -c 3 | od -c'",
        (("ready", b"\x1a\x1c\x04"),),
    ),
    Talk(
        f"run -it --rm box sh -c '{_ECHO}; stty -echo; echo again; read a; echo [$a]'",
        (("ready", b"typed\r"), ("again", b"unseen\r")),
    ),
    Talk(f"run -it --rm box sh -c '{_SIZES}'", (("ready", (30, 101)),)),
    Talk(
        "run -it --rm box sh -c 'stty -echo raw; echo ready; head -c 100000 | md5sum'",
        (("ready", b"0123456789" * 10_000),),
    ),
    Talk("run -t --rm box sh -c 'echo $TERM; tty'"),
    Talk("run -t --rm box sh -c 'echo ready; sleep 0.5; echo end'", (("ready", b"abc\r"),)),
    Talk("run -t --rm box echo x", stdin=b"abc"),
    Talk("run -it --rm box true", stdin=b""),
    Talk("run -i --rm box cat", stdin=b""),
    Talk(f"run -i --rm box sh -c '{_ECHO}; cat'", (("ready", b"line\n"), (r"\[line\]", b"\x04"))),
    Talk(
        "run -i --rm box sh -c 'echo ready; head -c 5 | od -c'",
        (("ready", b"a\x16\x10\x16\x11c\n"),),
    ),
)
_SIGNALS = (
    Talk(f"run --rm box sh -c '{_trap('INT')}'", (("ready", _CTRL_C),)),
    Talk(f"run --rm --init box sh -c '{_READY}'", (("ready", _CTRL_C),)),
    Talk(f"run --rm box sh -c '{_trap('TSTP')}'", (("ready", b"\x1a"),)),
    *(
        Talk(f"run --rm box sh -c '{_trap(number.name[3:])}'", (("ready", number),))
        for number in (SIGTERM, SIGHUP, SIGUSR1, SIGWINCH)
    ),
    Talk(f"run -it --rm box sh -c '{_trap('TERM')}'", (("ready", SIGTERM),)),
    Talk(f"run -t --rm box sh -c '{_trap('INT')}'", (("ready", SIGINT),)),
    Talk(
        f"run --sig-proxy=false --name alone box sh -c '{_READY}'",
        (("ready", _CTRL_C),),
        after=_runs("alone"),
    ),
    *(
        Talk(
            f"run --sig-proxy=false --name {number.name} box sh -c '{_READY}'",
            (("ready", number),),
            after=_runs(number.name),
        )
        for number in (SIGTERM, SIGHUP)
    ),
    Talk(
        "start -a told",
        (("ready", SIGTERM),),
        before=(f"create --name told box sh -c '{_trap('TERM')}'",),
    ),
    *(
        Talk(
            f"attach {flag} to{number}",
            (("ready", deed),),
            before=(f"run -d --name to{number} box sh -c 'sleep 1; {_trap(name)}'",),
            after=_runs(f"to{number}"),
        )
        for number, (flag, name, deed) in enumerate(
            (("", "TERM", SIGTERM), ("", "INT", _CTRL_C), ("--sig-proxy=false", "TERM", SIGTERM))
        )
    ),
)
_DETACH = (
    Talk(f"run -it --name one box sh -c '{_READY}'", (("ready", _KEYS),), after=_runs("one")),
    Talk(
        "run -it --rm box sh -c 'stty raw -echo; echo ready; head -c 5 | od -c'",
        (("ready", b"\x10a\x10\x10b"),),
    ),
    Talk(
        f"run -it --detach-keys ctrl-a,x --name two box sh -c '{_READY}'",
        (("ready", b"\x01x"),),
        after=_runs("two"),
    ),
    Talk("attach one", ((RAW, _KEYS),), after=_runs("one")),
    Talk("attach --detach-keys z one", ((RAW, b"z"),)),
    Talk("attach two", ((RAW, _CTRL_C),), after=_runs("two")),
    Talk(
        "start -ai three",
        (("ready", _KEYS),),
        before=(f"create -it --name three box sh -c '{_READY}'",),
        after=_runs("three"),
    ),
    Talk("start -ai --detach-keys @ two", (("ready", b"@"),), after=_runs("two")),
    Talk("exec -it one sh -c 'echo ready; sleep 3'", (("ready", _KEYS),)),
    Talk("exec -it --detach-keys ctrl-_ one sh -c 'echo ready; sleep 3'", (("ready", b"\x1f"),)),
    Talk(f"run -it --name set box sh -c '{_READY}'", (("ready", b"%"),), config=_OWN),
    Talk("attach set", ((RAW, b"%"),), config=_OWN),
    Talk("attach --detach-keys y set", ((RAW, b"y"),), config=_OWN),
    Talk("exec -it set sh -c 'echo ready; sleep 3'", (("ready", b"%"),), config=_OWN),
    Talk("start -ai set", (("ready", b"%"),), before=("kill set",), config=_OWN),
)
_EXEC = (
    Talk(f"exec -it up sh -c '{_SIZES}'", (("ready", (11, 22)),), before=("run -d --name up box sleep 100",)),
    Talk("exec -t up sh -c 'echo $TERM; tty'"),
    Talk("exec -it up cat", stdin=b"a\n"),
    Talk("exec -t up echo x", stdin=b"a\n"),
    Talk("exec -i up cat", stdin=b"a\n"),
    Talk(f"exec -it up sh -c '{_trap('INT')}'", (("ready", _CTRL_C),)),
    Talk("exec up sh -c 'echo ready; sleep 1'", (("ready", _CTRL_C),)),
    Talk("exec up sh -c 'echo ready; sleep 1'", (("ready", SIGTERM),)),
    Talk("exec -it up sh -c 'kill -9 $$'"),
    Talk("exec -dt up sh -c 'tty >/made'", after=("? exec up cat /made",)),
)
_ATTACH = (
    Talk(
        "attach asks",
        ((RAW, b"hello\r"),),
        before=("run -dit --name asks box sh -c 'read a; echo [$a]; exit 6'",),
        after=("logs asks",),
    ),
    Talk("attach asks", refused=True),
    Talk("start -ai asks", ((RAW, b"again\r"),), after=("logs asks",)),
    Talk("attach asks", stdin=b"", before=("start asks",)),
    Talk("attach asks", before=("pause asks",), after=("unpause asks",)),
    Talk("attach sized", (("ready", (9, 17)),), before=(f"run -dit --name sized box sh -c '{_SIZES}'",)),
    Talk("attach deaf", stdin=b"", before=("run -dt --name deaf box sleep 100",)),
    Talk(
        "attach --no-stdin speaks",
        stdin=b"",
        before=("run -dit --name speaks box sh -c 'sleep 1; echo end; exit 3'",),
    ),
    Talk("start -a speaks"),
    Talk(
        "start -i plain",
        (("ready", b"line\n"),),
        before=(f"create -i --name plain box sh -c '{_ECHO}; exit 8'",),
    ),
)
TALKS = {"run": _RUN, "signals": _SIGNALS, "detach": _DETACH, "exec": _EXEC, "attach": _ATTACH}
