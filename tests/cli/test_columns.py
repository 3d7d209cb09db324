from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onggi.cli.columns import align, table


def test_docker_list() -> None:
    assert table(["REPOSITORY", "TAG"], [["nginx", "latest"], ["a/long/repository/name", "1"]]) == (
        "REPOSITORY               TAG\n"
        "nginx                    latest\n"
        "a/long/repository/name   1\n"
    )  # fmt: skip


def test_last_cell_is_no_column_and_others_keep_their_width() -> None:
    assert table(["SIZE", "COMMENT"], [["0B", ""]]) == "SIZE      COMMENT\n0B        \n"


def test_blocks_end_where_a_line_has_no_such_cell() -> None:
    assert align("a\tb\nalone\nlonger-than-ten\tc\n") == "a         b\nalone\nlonger-than-ten   c\n"


def test_version_layout() -> None:
    assert align(" Version:\t28.2.2\n", 20, 1) == " Version:           28.2.2\n"


@given(st.lists(st.lists(st.text("ab한 ", max_size=14), min_size=3, max_size=3), min_size=1, max_size=8))
def test_columns_begin_at_one_place(rows: list[list[str]]) -> None:
    lines = align("".join("\t".join(row) + "\n" for row in rows)).split("\n")[:-1]
    first = max(10, *(len(row[0]) + 3 for row in rows))
    second = first + max(10, *(len(row[1]) + 3 for row in rows))
    for row, line in zip(rows, lines, strict=True):
        assert line[:first].rstrip(" ") == row[0].rstrip(" ")
        assert line[second:] == row[2]
