"""``onggi pull``."""

from __future__ import annotations

from onggi.cancel import CancelToken
from onggi.cli.columns import table
from onggi.cli.progress import JSONProgress, progress_kind, progress_sink
from onggi.cli.session import Failure, Session
from onggi.cli.units import human_size
from onggi.errors import Cancelled, OnggiError
from onggi.oci.reference import Reference
from onggi.progress import ProgressSink

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.image import Image
    from onggi.transfer.plan import PullPlan

__all__ = ["run"]


class PullStopped(Cancelled):
    """Ctrl-C during a pull."""

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"pull {reference}: stopped",
            hint="what was received is kept; the same command goes on from there",
        )


def run(session: Session) -> int:
    """Pull an image, or all tags of a repository; or only plan it."""
    reference = _parse(session)
    if session.flag("plan"):
        return _plan(session, reference)
    kind = progress_kind(session)
    if reference.is_name_only and not session.flag("all-tags") and kind in ("auto", "plain", "tty"):
        session.out.write("Using default tag: latest\n")
        session.out.flush()
    try:
        images = _pull(session, reference, progress_sink(kind, session.out))
    except KeyboardInterrupt:
        raise PullStopped(reference.familiar) from None
    except OnggiError as error:
        if kind == "json":
            document: dict[str, object] = {"errorDetail": {"message": str(error)}, "error": str(error)}
            JSONProgress(session.out).write(document)
        raise
    _end(session, kind, str(_canonical(reference, session)), images)
    return 0


def _parse(session: Session) -> Reference:
    reference = Reference.parse(session.arguments[0])
    if session.given("max-concurrent-downloads") and session.flag("max-concurrent-downloads") < 1:
        raise Failure("invalid --max-concurrent-downloads: must be at least 1")
    if session.flag("all-tags") and not reference.is_name_only:
        raise Failure("tag can't be used with --all-tags/-a")
    if session.flag("all-tags") and session.flag("plan"):
        raise Failure("conflicting options: cannot specify both --plan and --all-tags")
    return reference


def _canonical(reference: Reference, session: Session) -> Reference:
    return reference if session.flag("all-tags") else reference.tagged()


def _pull(session: Session, reference: Reference, draw: ProgressSink) -> list[Image]:
    from onggi.cli.background import run_watched

    images = session.engine.images
    options = {
        "platform": session.flag("platform") or None,
        "limit_rate_bytes_per_s": session.flag("limit-rate") or None,
        "max_concurrent_downloads": session.flag("max-concurrent-downloads") or None,
        "keep_blobs": session.flag("keep-blobs") if session.given("keep-blobs") else None,
        "verify": session.flag("verify"),
    }

    def verb(sink: ProgressSink, cancel: CancelToken) -> list[Image]:
        if session.flag("all-tags"):
            return list(images.pull_all(str(reference), progress=sink, cancel=cancel, **options))
        return [images.pull(str(reference), progress=sink, cancel=cancel, **options)]

    return run_watched(verb, draw)


def _end(session: Session, kind: str, reference: str, images: list[Image]) -> None:
    if kind != "json":
        session.out.write(f"{reference}\n")
        return
    for image in images:
        JSONProgress(session.out).write({"aux": {"ID": image.id, "Reference": reference}})


# --- --plan -----------------------------------------------------------------------------------


def _plan(session: Session, reference: Reference) -> int:
    plan = session.engine.images.plan(str(reference), platform=session.flag("platform") or None)
    format = session.flag("format")
    if session.flag("json") or format == "json":
        session.write_json(_plan_json(plan))
    elif format:
        from onggi.cli.gofmt import Record
        from onggi.cli.template import compile_template

        session.out.write(compile_template(format)(Record.of("plan", _plan_json(plan))) + "\n")
    else:
        session.out.write(_plan_text(plan))
    return 0


def _plan_json(plan: PullPlan) -> dict[str, Any]:
    return {
        "Reference": str(plan.reference),
        "Digest": plan.digest,
        "Platform": str(plan.platform),
        "ImageID": plan.image_id,
        "UpToDate": plan.up_to_date,
        "BytesToFetch": plan.bytes_to_fetch,
        "DiskNeeded": plan.disk_needed_bytes,
        "Layers": [
            {
                "Digest": layer.digest,
                "MediaType": layer.media_type,
                "ChainID": layer.chain_id,
                "Size": layer.size_bytes,
                "Have": layer.have_bytes,
                "State": layer.state.value,
            }
            for layer in plan.layers
        ],
    }


def _plan_text(plan: PullPlan) -> str:
    rows = [
        (layer.digest.short, human_size(layer.size_bytes), human_size(layer.have_bytes), layer.state.value)
        for layer in plan.layers
    ]
    total = sum(layer.size_bytes for layer in plan.layers)
    missing = sum(layer.have_bytes < layer.size_bytes for layer in plan.layers)
    facts = [
        f"{plan.reference} for {plan.platform}",
        f"Digest:       {plan.digest}",
        f"Image ID:     {plan.image_id}",
        "",
        table(("LAYER", "SIZE", "HAVE", "STATE"), rows),
        f"To fetch:     {human_size(plan.bytes_to_fetch)} of {human_size(total)}, "
        f"{missing} of {len(rows)} layers",
        f"Disk needed:  about {human_size(plan.disk_needed_bytes)} while pulling",
    ]
    if plan.up_to_date:
        facts.append("Status:       Image is up to date; a pull would fetch nothing")
    return "\n".join(facts) + "\n"
