"""``onggi verify``: is what lies on disk still what was pulled?"""

from __future__ import annotations

from onggi.cancel import CancelToken
from onggi.cli.session import Failure, Session
from onggi.progress import ProgressSink

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.verification import Finding, Verification

__all__ = ["finding_json", "run"]


def run(session: Session) -> int:
    """Print the findings as they come, then a summary; status 1 when there are any."""
    if bool(session.arguments) == bool(session.flag("all")):
        what = "conflicting: IMAGE and --all" if session.arguments else "requires an IMAGE or --all"
        raise Failure(f"\"onggi verify\" {what}.\nSee 'onggi verify --help'.")
    session.start_workers("check")
    plain = not session.flag("json") and not session.flag("quiet")
    verification, findings = _verify(session, plain=plain)
    if session.flag("json"):
        session.write_json(_json(verification, findings))
    elif plain:
        session.out.write(_summary(verification, findings))
    return int(bool(findings))


def _verify(session: Session, *, plain: bool) -> tuple[Verification, list[Finding]]:
    from onggi.cli.background import run_watched
    from onggi.progress import Message

    def verb(sink: ProgressSink, cancel: CancelToken) -> tuple[Verification, list[Finding]]:
        verification = session.engine.images.verify(
            *session.arguments, all=session.flag("all"), fast=session.flag("fast"), cancel=cancel
        )
        findings = []
        for finding in verification:
            findings.append(finding)
            sink(Message(str(finding)))
        return verification, findings

    def draw(event: object) -> None:
        if plain and isinstance(event, Message):
            session.out.write(event.text + "\n")
            session.out.flush()

    return run_watched(verb, draw)


def _summary(verification: Verification, findings: list[Finding]) -> str:
    notes = "".join(f"{note}\n" for note in verification.notes)
    checked = f"{_count(verification.images, 'image')}, {_count(verification.layers, 'layer')} checked"
    if not findings:
        return f"{notes}{checked}: nothing has changed\n"
    damaged = f"{_count(len(findings), 'finding')} in {_count(verification.damaged, 'layer')}"
    return f"{notes}{checked}: {damaged}; 'onggi repair IMAGE' heals\n"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _json(verification: Verification, findings: list[Finding]) -> dict[str, Any]:
    return {
        "Images": verification.images,
        "Layers": verification.layers,
        "DamagedLayers": verification.damaged,
        "Bytes": verification.size_bytes,
        "Notes": verification.notes,
        "Findings": [finding_json(finding) for finding in findings],
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """One finding; ``Path`` is null where it is about a metadata file."""
    path = None if finding.path is None else finding.path.decode("utf-8", "surrogateescape")
    return {
        "Image": finding.image,
        "Layer": finding.layer,
        "ChainID": finding.chain_id or "",
        "CacheID": finding.cache_id or "",
        "Path": path,
        "File": finding.file,
        "Reason": finding.reason,
        "Changes": [
            {"What": change.what, "Expected": change.expected, "Found": change.found}
            for change in finding.changes
        ],
    }
