"""Lists: Docker's tables, ``--format`` templates and JSON over the same named fields.

A :class:`Listing` says once what the fields of a kind of row are called, which header each
has, and how it is computed. Only fields that the output needs are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from onggi.cli.columns import align, table
from onggi.cli.session import Failure

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.gofmt import Record

__all__ = ["Listing"]

# Both words of a template that the shell could not pass as characters.
_ESCAPES = (("\\t", "\t"), ("\\n", "\n"))


class Listing:
    """``fields`` maps a name to its column header and its text for an item.

    ``default`` names the fields of the table shown without ``--format``; ``type_name`` is
    the Go type that errors about unknown fields name. ``hidden`` fields are ours: templates
    can ask for them, Docker's JSON does not show them. ``labels`` gives an item's for
    ``{{.Label "name"}}``.
    """

    __slots__ = ("default", "fields", "hidden", "labels", "type_name")

    def __init__(
        self,
        type_name: str,
        fields: Mapping[str, tuple[str, Callable[[Any], str | None]]],
        default: Sequence[str],
        hidden: Collection[str] = (),
        labels: Callable[[Any], Mapping[str, str]] | None = None,
    ) -> None:
        self.type_name = type_name
        self.fields = fields
        self.default = default
        self.hidden = hidden
        self.labels = labels

    def render(self, items: Iterable[Any], format: str = "", default: Sequence[str] | None = None) -> str:
        """Text for ``items``: the default table, ``json``, ``table TEMPLATE`` or ``TEMPLATE``.

        Raises Failure (the template does not parse), TemplateError.
        """
        if format in ("", "table"):
            return self._table(items, default or self.default)
        if format == "json":
            return "".join(self._json(item) + "\n" for item in items)
        return self._template(items, format)

    def _table(self, items: Iterable[Any], names: Sequence[str]) -> str:
        columns = [self.fields[name] for name in names]
        rows = [[text(item) or "" for _, text in columns] for item in items]
        return table([header for header, _ in columns], rows)

    def _json(self, item: Any) -> str:
        from onggi.cli.gofmt import go_json

        return go_json(self.record(item))

    def record(self, item: Any) -> Record:
        """The item as templates see it."""
        from onggi.cli.gofmt import Record

        names = sorted(name for name in self.fields if name not in self.hidden)
        return Record(
            self.type_name,
            names,
            lambda name: self.fields[name][1](item),
            hidden=self.hidden,
            html=True,
            methods=self._methods(item),
        )

    def _methods(self, item: Any) -> dict[str, Callable[[str], str]]:
        labels = self.labels
        return {} if labels is None else {"Label": lambda name: labels(item).get(name, "")}

    def _template(self, items: Iterable[Any], format: str) -> str:
        from onggi.cli.template import compile_template
        from onggi.cli.template_functions import HEADER_FUNCTIONS

        tabular = format.startswith("table")
        source = format.removeprefix("table").strip() if tabular else format
        for word, character in _ESCAPES:
            source = source.replace(word, character)
        execute = self._compiled(source)
        lines = "".join(execute(self.record(item)) + "\n" for item in items)
        if not tabular:
            return lines
        return align(compile_template(source, HEADER_FUNCTIONS)(self._headers()) + "\n" + lines)

    def _compiled(self, source: str) -> Callable[[Any], str]:
        """Docker's lists end with 1 for what does not parse, its other commands with 64."""
        from onggi.cli.template import TemplateSyntaxError, compile_template

        try:
            return compile_template(source)
        except TemplateSyntaxError as error:
            raise Failure(f"template parsing error: {error}") from error

    def _headers(self) -> Record:
        from onggi.cli.gofmt import Record

        methods = {} if self.labels is None else {"Label": _label_header}
        return Record(self.type_name, list(self.fields), lambda name: self.fields[name][0], methods=methods)


def _label_header(name: str) -> str:
    """Of ``com.example.some-thing`` the last part, in words."""
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")
