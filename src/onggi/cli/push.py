"""``onggi push``."""

from __future__ import annotations

from onggi.cli.progress import JSONProgress, progress_kind, progress_sink
from onggi.cli.session import Failure, Session
from onggi.errors import Cancelled, OnggiError
from onggi.oci.reference import Reference
from onggi.progress import ProgressSink

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.cancel import CancelToken
    from onggi.transfer.push import Pushed

__all__ = ["run"]


class PushStopped(Cancelled):
    """Ctrl-C during a push."""

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"push {reference}: stopped",
            hint="layers that the registry has taken stay there; the same command sends the others",
        )


def run(session: Session) -> int:
    """Push an image, or all tags of a repository."""
    reference = _parse(session)
    kind = progress_kind(session)
    if reference.is_name_only and not session.flag("all-tags"):
        if kind in ("auto", "plain", "tty"):
            session.out.write("Using default tag: latest\n")
            session.out.flush()
        reference = reference.tagged()
    try:
        pushed = _push(session, reference, progress_sink(kind, session.out))
    except KeyboardInterrupt:
        raise PushStopped(reference.familiar) from None
    except OnggiError as error:
        if kind == "json":
            document: dict[str, object] = {"errorDetail": {"message": str(error)}, "error": str(error)}
            JSONProgress(session.out).write(document)
        raise
    if kind == "json":
        _write_results(session, pushed)
    elif kind == "quiet":
        session.out.write(f"{reference}\n")
    return 0


def _parse(session: Session) -> Reference:
    reference = Reference.parse(session.arguments[0])
    if session.given("max-concurrent-uploads") and session.flag("max-concurrent-uploads") < 1:
        raise Failure("invalid --max-concurrent-uploads: must be at least 1")
    if session.flag("all-tags") and not reference.is_name_only:
        raise Failure("tag can't be used with --all-tags/-a")
    return reference


def _push(session: Session, reference: Reference, draw: ProgressSink) -> list[Pushed]:
    from onggi.cli.background import run_watched

    images = session.engine.images
    options = {
        "compression": session.flag("compression") or None,
        "oci": session.flag("oci") if session.given("oci") else None,
        "platform": session.flag("platform"),
        "all_platforms": session.flag("all-platforms"),
        "max_concurrent_uploads": session.flag("max-concurrent-uploads") or None,
    }

    def verb(sink: ProgressSink, cancel: CancelToken) -> list[Pushed]:
        if session.flag("all-tags"):
            return list(images.push_all(str(reference), progress=sink, cancel=cancel, **options))
        return [images.push(str(reference), progress=sink, cancel=cancel, **options)]

    return run_watched(verb, draw)


def _write_results(session: Session, pushed: list[Pushed]) -> None:
    for item in pushed:
        aux = {"Tag": item.reference.tag, "Digest": item.digest, "Size": item.size_bytes}
        JSONProgress(session.out).write({"aux": aux})
