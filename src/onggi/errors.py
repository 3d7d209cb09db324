"""The kinds of failure, and nothing else.

A concrete error lives beside the code that raises it, derives from exactly one
kind, carries its facts as fields and renders as one line, ``verb noun: subject:
cause``. The doors (command line, Engine API, registry server) translate kinds,
never message texts::

    OnggiError
    ├── InvalidArgument      the caller's words are wrong                 HTTP 400
    ├── Unauthorized         credentials are missing or wrong             HTTP 401
    ├── Forbidden            known, and not allowed                       HTTP 403
    ├── NotFound             the named thing does not exist               HTTP 404
    ├── Conflict             the state of things forbids it               HTTP 409
    ├── FailedPrecondition   the host or the data root cannot do it       HTTP 412
    ├── ResourceExhausted    disk full, quota, rate limit                 HTTP 429
    ├── Unsupported          well understood, and not done by this engine HTTP 501
    ├── Unavailable          a peer or a resource is away; try again      HTTP 503
    ├── DataLoss             bytes are not what their digest says         HTTP 500
    ├── Cancelled            the caller asked to stop                     HTTP 499
    └── DeadlineExceeded     the caller's time is over                    HTTP 504
"""

from __future__ import annotations


class OnggiError(Exception):
    """Base of everything Onggi raises on purpose.

    ``message`` is one line. ``hint`` says the way out (a command, a setting), or is
    empty. ``retryable`` tells whether the same call can succeed later unchanged.
    """

    retryable: bool = False

    def __init__(self, message: str, *, hint: str = "", retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return self.message


class InvalidArgument(OnggiError):
    """The caller's words are wrong."""


class Unauthorized(OnggiError):
    """Credentials are missing or wrong."""


class Forbidden(OnggiError):
    """The caller is known and not allowed."""


class NotFound(OnggiError):
    """The named thing does not exist."""


class Conflict(OnggiError):
    """The present state forbids the request."""


class FailedPrecondition(OnggiError):
    """The host or the data root cannot do it as it is now."""


class ResourceExhausted(OnggiError):
    """Disk, quota or rate limit is used up."""


class Unsupported(OnggiError):
    """Well understood and not done by this engine."""


class Unavailable(OnggiError):
    """A peer or a resource is away."""

    retryable = True


class DataLoss(OnggiError):
    """Bytes are not what their digest or size says."""


class Cancelled(OnggiError):
    """The caller asked to stop."""


class DeadlineExceeded(OnggiError):
    """The caller's time is over."""

    retryable = True
