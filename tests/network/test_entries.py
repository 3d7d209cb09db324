"""Entries of aardvark-dns under a new name, in files as netavark writes them."""

from __future__ import annotations

from pathlib import Path

from onggi.network.entries import rename_entries

JAR, OTHER = "a" * 64, "b" * 64
ENTRIES = (
    f"10.0.0.1\n{JAR} 10.0.0.2  old,aaaaaaaaaaaa,old\n{OTHER} 10.0.0.3 fd00::3 other,bbbbbbbbbbbb 9.9.9.9\n"
)


def test_the_first_of_its_names_is_another_everywhere(tmp_path: Path) -> None:
    directory = tmp_path / "aardvark-dns"
    directory.mkdir()
    for network in ("one", "two"):
        (directory / network).write_text(ENTRIES)
    assert rename_entries(directory, ["one", "two", "absent"], JAR, "new")
    for network in ("one", "two"):
        assert (directory / network).read_text() == ENTRIES.replace("  old,", "  new,")
    assert sorted(path.name for path in directory.iterdir()) == ["one", "two"]
    assert not rename_entries(directory, ["one", "two"], JAR, "new"), "they have it"


def test_what_follows_the_names_stays(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(ENTRIES)
    assert rename_entries(tmp_path, ["one"], OTHER, "new")
    assert (tmp_path / "one").read_text() == ENTRIES.replace("other,", "new,")


def test_a_line_that_was_cut_off_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(f"10.0.0.1\n{JAR} 10.0")
    assert not rename_entries(tmp_path, ["one"], JAR, "new")
    assert (tmp_path / "one").read_text() == f"10.0.0.1\n{JAR} 10.0"
