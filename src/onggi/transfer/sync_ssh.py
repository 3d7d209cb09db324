"""The way to a store on another host: ``ssh [-p port] -- [user@]host onggi --data-root … sync-serve``.

The ssh program, its configuration, keys, agents and questions are the user's own. What the
other side prints beside the protocol (stderr) is kept for the error, if there is one.
"""

from __future__ import annotations

import shlex
import subprocess
import threading
from typing import IO, BinaryIO
from urllib.parse import unquote, urlsplit

from onggi.errors import FailedPrecondition, InvalidArgument, OnggiError
from onggi.record import record
from onggi.transfer.sync_channel import Channel, ChannelBroken

__all__ = ["SSHConnection", "SSHPlace"]

# Bytes of stderr kept: its end tells the reason.
_KEPT_BYTES = 4096
# Exit status of an ssh that failed; else it is that of the far command (ssh(1)).
_SSH_FAILED = 255
# Seconds an ssh that has nothing more to do may take to end.
_END_TIMEOUT_S = 10.0
# Seconds to wait for the end of stderr: a connection that ssh shares (ControlPersist) keeps it open.
_STDERR_TIMEOUT_S = 0.5


class InvalidPlace(InvalidArgument):
    """Not an ssh URL of a data root."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"sync {text}: {reason}", hint="say ssh://[user@]host[:port]/path/of/the/data-root")


@record
class SSHPlace:
    """A data root on another host."""

    text: str
    destination: str
    port: int | None
    path: str

    @classmethod
    def parse(cls, text: str) -> SSHPlace:
        """From ``ssh://[user@]host[:port]/path``. Raises InvalidPlace.

        A host or user that begins with a dash would be an option of ssh (CVE-2017-1000117).
        """
        parts = urlsplit(text)
        try:
            port = parts.port
        except ValueError:
            raise InvalidPlace(text, "the port is not a number") from None
        if parts.password is not None:
            raise InvalidPlace(text, "a password has no place here")
        if not parts.hostname or not parts.path.strip("/") or parts.query or parts.fragment:
            raise InvalidPlace(text, "host and path are needed")
        host = parts.netloc.rpartition("@")[2]
        host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        destination = f"{unquote(parts.username)}@{host}" if parts.username else host
        if destination.startswith("-") or host.startswith("-") or not destination.isprintable():
            raise InvalidPlace(text, "no such host or user can be")
        return cls(text, destination, port, unquote(parts.path))

    def command(self, program: str) -> list[str]:
        """What to run here. ``program`` is how onggi is called there, a piece of shell."""
        return [*self.login, f"{program} --data-root {shlex.quote(self.path)} sync-serve"]

    @property
    def login(self) -> list[str]:
        """What opens a shell there."""
        port = [] if self.port is None else ["-p", str(self.port)]
        return ["ssh", *port, "--", self.destination]


class SSHConnection:
    """A running ssh and the channel through it; :meth:`close` ends both."""

    def __init__(self, place: SSHPlace, program: str) -> None:
        self._place = place
        self._said = b""
        try:
            self._process = subprocess.Popen(
                place.command(program),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError:
            raise FailedPrecondition(
                f"sync {place.text}: there is no ssh program", hint="install openssh-client"
            ) from None
        self.channel = Channel(_pipe(self._process.stdout), _pipe(self._process.stdin), place.text)
        self._listener = threading.Thread(target=self._listen, name="onggi-ssh-stderr", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        stream = _pipe(self._process.stderr)
        while piece := stream.read1(1024):  # type: ignore[attr-defined]
            self._said = (self._said + piece)[-_KEPT_BYTES:]

    def explain(self, error: OnggiError, hint: str = "") -> OnggiError:
        """The error, with the reason that ssh or the far shell gave when the connection just ended.

        ``hint`` is for one that never began to work: what must be there.
        """
        if not isinstance(error, ChannelBroken):
            return error
        self.close()
        if hint and self._process.returncode == _SSH_FAILED:
            hint = f"ssh itself does not get there: {shlex.join(self._place.login)!r} must work first"
        hint = hint or error.hint
        lines = [line.strip() for line in self._said.decode("utf-8", "replace").splitlines() if line.strip()]
        if not lines:
            return ChannelBroken(self._place.text, error.reason, hint)
        said = "".join(letter if letter.isprintable() else " " for letter in lines[-1])
        return ChannelBroken(self._place.text, f"{error.reason}: {said.removeprefix('Error: ')}", hint)

    def cancel(self) -> None:
        """End ssh now; whoever waits for the channel gets ChannelBroken."""
        self._process.terminate()

    def close(self) -> None:
        """Close the pipes and wait for ssh."""
        self.channel.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(_STDERR_TIMEOUT_S)


def _pipe(stream: IO[bytes] | None) -> BinaryIO:
    assert stream is not None
    return stream  # type: ignore[return-value]
