"""``--user``: what runc's rules say, and images that try to be clever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onggi.runtime.user import AccountFiles, Group, Passwd, User, UserNotFound, read_accounts, resolve_user

ACCOUNTS = AccountFiles(
    (Passwd("root", 0, 0), Passwd("app", 100, 101), Passwd("7", 8, 9)),
    (Group("root", 0, ()), Group("app", 101, ()), Group("disk", 6, ("app",)), Group("42", 43, ())),
)


@pytest.mark.parametrize(
    ("spec", "add", "expected"),
    [
        ("", (), User(0, 0, (0,))),
        ("app", (), User(100, 101, (101, 6))),
        ("100", (), User(100, 101, (101, 6))),
        ("app:disk", (), User(100, 6, (6,))),
        ("555", (), User(555, 0, (0,))),
        ("555:666", (), User(555, 666, (666,))),
        ("7", (), User(7, 0, (0,))),
        (":disk", (), User(0, 6, (6,))),
        ("app", ("42", "disk"), User(100, 101, (101, 6, 42))),
    ],
)
def test_resolving(spec: str, add: tuple[str, ...], expected: User) -> None:
    assert resolve_user(spec, ACCOUNTS, add) == expected


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("app:nobody", "unable to find group nobody: no matching entries in group file"),
        ("4294967296", "must be in range 0-2147483647"),
        ("2147483648:0", "must be in range"),
        ("0:99999999999999999999", "must be in range"),
        ("-1", "must be in range"),
    ],
)
def test_what_names_nobody(spec: str, words: str) -> None:
    with pytest.raises(UserNotFound, match=words):
        resolve_user(spec, ACCOUNTS)


def _read(root: Path) -> AccountFiles:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read_accounts(fd)
    finally:
        os.close(fd)


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n\nevil:x:zero:0\nshort\n \napp:x:1:2\n")
    (tmp_path / "etc/group").write_text("a:x:1:b,,c\nnone\n")
    assert _read(tmp_path) == AccountFiles(
        (Passwd("root", 0, 0), Passwd("app", 1, 2)), (Group("a", 1, ("b", "c")),)
    )


def test_a_link_out_of_the_root_stays_in_it(tmp_path: Path) -> None:
    """CVE-2024-9676: the host's file is never read."""
    (tmp_path / "secret").write_text("host:x:1:1\n")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    os.symlink("../../../../../secret", root / "etc/passwd")
    os.symlink("/secret", root / "etc/group")
    assert _read(root) == AccountFiles()
    (root / "secret").write_text("mine:x:5:5\n")
    assert _read(root).passwd == (Passwd("mine", 5, 5),)


def test_fifos_devices_and_directories_are_no_account_files(tmp_path: Path) -> None:
    (tmp_path / "etc/group").mkdir(parents=True)
    os.mkfifo(tmp_path / "etc/passwd")
    assert _read(tmp_path) == AccountFiles()
