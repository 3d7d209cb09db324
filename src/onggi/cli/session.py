"""One call of the program: what was asked, where answers go, the engine behind it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property

from onggi.cli.command import Command, Program
from onggi.cli.output import Output

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.drivers.workers import Workers
    from onggi.engine.engine import Engine

__all__ = ["Failure", "Session", "Terminated"]


class Failure(Exception):
    """A message for stderr, as it stands, and an exit status; for texts that are Docker's own."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Terminated(KeyboardInterrupt):
    """SIGTERM while a long verb runs: it ends as by Ctrl-C, only the exit status differs."""


class Session:
    """``path`` is the command as called; ``settings`` are Config fields set by global flags."""

    def __init__(
        self,
        program: Program,
        command: Command,
        path: str,
        arguments: Sequence[str],
        values: Mapping[str, Any],
        settings: Mapping[str, Any],
        out: Output,
        err: Output,
    ) -> None:
        self.program = program
        self.command = command
        self.path = path
        self.arguments = list(arguments)
        self.settings = settings
        self.out = out
        self.err = err
        self._values = values
        self._workers: Workers | None = None

    def flag(self, name: str) -> Any:
        """The value given, or the default."""
        if name in self._values:
            return self._values[name]
        return next(flag.default for flag in self.command.flags if flag.name == name)

    def given(self, name: str) -> bool:
        """True when the flag stands on the command line."""
        return name in self._values

    @property
    def filters(self) -> dict[str, list[str]]:
        """``--filter name=value``, gathered by name."""
        found: dict[str, list[str]] = {}
        for pair in self.flag("filter"):
            name, _, value = pair.partition("=")
            found.setdefault(name, []).append(value)
        return found

    @cached_property
    def engine(self) -> Engine:
        """The engine, opened when first asked for."""
        from onggi.config import Config
        from onggi.engine.engine import Engine

        return Engine(Config.load(self.settings), self._workers)

    def start_workers(self, job: str) -> None:
        """Have the helper come up while the engine is loaded, ready for ``job`` (drivers/worker.py)."""
        from onggi.drivers.workers import Workers

        self._workers = Workers(job)
        self._workers.warm_up()

    def close(self) -> None:
        """End the engine, if there is one."""
        engine = self.__dict__.pop("engine", None)
        if engine is not None:
            engine.close()
        if self._workers is not None:
            self._workers.close()

    def write_json(self, document: object) -> None:
        """One JSON document, indented by four spaces as Docker's are."""
        from onggi.cli.gofmt import go_json

        self.out.write(go_json(document, indent="    ") + "\n")

    def report(self, error: Exception) -> None:
        """One line on stderr: ``Error: <message> (<hint>)``."""
        hint = getattr(error, "hint", "")
        message = " ".join(str(error).split("\n"))
        self.err.write(f"Error: {message} ({hint})\n" if hint else f"Error: {message}\n")

    def confirm(self, warning: str) -> bool:
        """Docker's question; anything but ``y`` is no."""
        self.out.write(f"{warning}\nAre you sure you want to continue? [y/N] ")
        self.out.flush()
        answer = sys.stdin.readline() if sys.stdin is not None else ""
        return answer.strip().lower() == "y"
