"""``onggi version``: Docker's layout. Client and engine are one program, so they are shown once each."""

from __future__ import annotations

from onggi.cli.gofmt import Record, go_json
from onggi.cli.session import Session

__all__ = ["run"]

_LINES = (
    ("Version", "Version"),
    ("API version", "ApiVersion"),
    ("Python version", "PythonVersion"),
    ("OS/Arch", ""),
)


def run(session: Session) -> int:
    """Print versions."""
    engine = session.engine.system.version()
    document = {"Client": engine, "Server": engine}
    format = session.flag("format")
    if session.flag("json") or format == "json":
        session.out.write(go_json(document) + "\n")
    elif format:
        from onggi.cli.template import compile_template

        parts = {name: Record.of(f"system.{name}", part) for name, part in document.items()}
        record = Record("system.versionInfo", list(parts), parts.__getitem__)
        session.out.write(compile_template(format)(record) + "\n")
    else:
        values = {**engine, "": f"{engine['Os']}/{engine['Arch']}"}
        lines = "".join(f" {label + ':':<18} {values[name]}\n" for label, name in _LINES)
        session.out.write(f"Onggi (no daemon: client and engine are one program):\n{lines}")
    return 0
