import errno

import pytest

from onggi.errors import DataLoss, FailedPrecondition, ResourceExhausted
from onggi.tree.errors import TEXT_LIMIT, errno_text, failure, printable, shortened


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, ResourceExhausted),
        (errno.EDQUOT, ResourceExhausted),
        (errno.EROFS, FailedPrecondition),
        (errno.EIO, FailedPrecondition),
        (errno.EMFILE, FailedPrecondition),
        (errno.ENOENT, DataLoss),
        (errno.EEXIST, DataLoss),
        (errno.EINVAL, DataLoss),
    ],
)
def test_whose_fault_it_is(number, kind):
    error = failure(OSError(number, "other words"), "open /x", b"x")
    assert isinstance(error, kind)
    assert error.message == f"open /x: {errno_text(number)}"
    assert error.path == b"x"


def test_words_are_gos():
    assert errno_text(errno.ENOENT) == "no such file or directory"
    assert errno_text(errno.EXDEV) == "invalid cross-device link"
    assert errno_text(errno.ELOOP) == "too many levels of symbolic links"
    assert failure(OSError("no number"), "open /x", b"x").message == "open /x: input/output error"


def test_names_from_archives_are_made_safe():
    assert printable(b"a/\xff") == "/a/\\xff"
    assert shortened("ü".encode()) == "ü"
    long = shortened(b"a" * 5000 + b"b" * 5000)
    assert len(long) == TEXT_LIMIT + 1
    assert (long[0], long[-1]) == ("a", "b")
