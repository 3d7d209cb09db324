from __future__ import annotations

import pytest

from onggi.cli.gofmt import go_json
from onggi.cli.listing import Listing
from onggi.cli.template import TemplateError

asked: list[str] = []


def _name(item: str) -> str:
    asked.append(item)
    return f"<{item}>"


LISTING = Listing(
    "*formatter.thing",
    {"Name": ("NAME", _name), "ID": ("THING ID", str.upper), "Size": ("SIZE", lambda item: str(len(item)))},
    ("ID", "Size"),
)


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("", "THING ID   SIZE\nAB         2\nCDE        3\n"),
        ("table", "THING ID   SIZE\nAB         2\nCDE        3\n"),
        ("table {{.Size}}\\t{{.ID}}", "SIZE      THING ID\n2         AB\n3         CDE\n"),
        ("table {{lower .ID}}\t{{json .Size}}", 'THING ID   SIZE\nab         "2"\ncde        "3"\n'),
        ("{{.ID}}:{{.Size}}", "AB:2\nCDE:3\n"),
        ("{{.ID}}\\n--", "AB\n--\nCDE\n--\n"),
        ("json", '{"ID":"AB","Name":"\\u003cab\\u003e","Size":"2"}\n{"ID":"CDE","Name":"\\u003ccde\\u003e","Size":"3"}\n'),
        ("{{json .}}", '{"ID":"AB","Name":"\\u003cab\\u003e","Size":"2"}\n{"ID":"CDE","Name":"\\u003ccde\\u003e","Size":"3"}\n'),
        ("{{json .Name}}", '"<ab>"\n"<cde>"\n'),
    ],
)  # fmt: skip
def test_formats(format: str, text: str) -> None:
    assert LISTING.render(["ab", "cde"], format) == text


def test_only_fields_that_are_shown_are_computed() -> None:
    asked.clear()
    LISTING.render(["ab"])
    LISTING.render(["ab"], "table {{.Size}}")
    assert asked == []


def test_headers_alone() -> None:
    assert LISTING.render([]) == "THING ID   SIZE\n"
    assert LISTING.render([], "{{.Nope}}") == ""


def test_unknown_field_names_dockers_type() -> None:
    with pytest.raises(TemplateError, match=r"can't evaluate field Nope in type \*formatter\.thing"):
        LISTING.render(["ab"], "{{.Nope}}")


def test_records_inside_other_documents() -> None:
    assert go_json({"Items": [LISTING.record("a")]}) == '{"Items":[{"ID":"A","Name":"<a>","Size":"1"}]}'
