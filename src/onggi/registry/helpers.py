"""Credential helpers: ``docker-credential-<name>``, Docker's protocol (docker-engine §2.3).

======  ===============================================  ==============================
verb    stdin                                            stdout
======  ===============================================  ==============================
get     server                                           ``{"ServerURL", "Username", "Secret"}``
store   ``{"ServerURL", "Username", "Secret"}``
erase   server
======  ===============================================  ==============================

A failure is a non-zero exit code with the message on **stdout**.
"""

from __future__ import annotations

import json

from onggi.errors import FailedPrecondition

__all__ = ["CredentialError", "Helper"]

# Seconds a helper may think; some ask the user.
_TIMEOUT_S = 120.0
# What helpers say when they know no credentials; that is no error.
_NONE_TEXTS = (
    "credentials not found in native keychain",
    "no credentials server URL",
    "no credentials username",
)


class CredentialError(FailedPrecondition):
    """config.json or a helper does not do what it should; never shows a secret."""


class Helper:
    """One helper program."""

    def __init__(self, name: str) -> None:
        self.program = f"docker-credential-{name}"
        self._usable = bool(name) and "/" not in name

    def get(self, server: str) -> tuple[str, str] | None:
        """User name and secret, or None. Raises CredentialError."""
        answer = self._run("get", "getting", server)
        if answer is None:
            return None
        try:
            document = json.loads(answer)
            return str(document["Username"]), str(document["Secret"])
        except (ValueError, KeyError, TypeError):
            # Without the answer: half of it may be a secret.
            raise CredentialError(
                f"error getting credentials - {self.program}: unreadable answer", hint=self._hint
            ) from None

    def store(self, server: str, username: str, secret: str) -> None:
        """Keep a secret. Raises CredentialError."""
        entry = {"ServerURL": server, "Username": username, "Secret": secret}
        self._run("store", "storing", json.dumps(entry))

    def erase(self, server: str) -> bool:
        """Forget a server; False when nothing was known. Raises CredentialError."""
        return self._run("erase", "erasing", server) is not None

    def _run(self, verb: str, doing: str, text: str) -> str | None:
        """Standard output; None when the helper knows nothing."""
        import shutil
        import subprocess  # most pulls ask no helper

        path = shutil.which(self.program) if self._usable else None
        what = f"error {doing} credentials - err: exec: {json.dumps(self.program)}"
        if path is None:
            raise CredentialError(f"{what}: executable file not found in $PATH", hint=self._hint)
        try:
            done = subprocess.run(
                [path, verb], input=text.encode(), capture_output=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise CredentialError(f"{what}: no answer in {_TIMEOUT_S:g} s", hint=self._hint) from None
        except OSError as error:
            raise CredentialError(f"{what}: {error.strerror}", hint=self._hint) from error
        out = done.stdout.decode("utf-8", "replace").strip()
        if done.returncode == 0:
            return out
        if any(known in out for known in _NONE_TEXTS):
            return None
        raise CredentialError(
            f"error {doing} credentials - err: {self.program} {verb}: exit status {done.returncode}, "
            f"out: `{' '.join(out.split())}`",
            hint=self._hint,
        )

    @property
    def _hint(self) -> str:
        return f"repair {self.program}, or remove it from credsStore/credHelpers in config.json"
