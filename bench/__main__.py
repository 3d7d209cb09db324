"""``python -m bench [pull|push|save|load|verify|remove|mount|read|run|cli] [options]``; no name: all."""

from __future__ import annotations

import sys

from bench import cli, load, mount, pull, push, read, remove, run, save, verify

BENCHMARKS = {
    "pull": pull.main,
    "push": push.main,
    "save": save.main,
    "load": load.main,
    "verify": verify.main,
    "remove": remove.main,
    "mount": mount.main,
    "read": read.main,
    "run": run.main,
    "cli": cli.main,
}


def main(words: list[str]) -> None:
    if words and words[0] in BENCHMARKS:
        BENCHMARKS[words[0]](words[1:])
        return
    for benchmark in BENCHMARKS.values():
        benchmark(words)


if __name__ == "__main__":
    main(sys.argv[1:])
