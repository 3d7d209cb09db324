"""What ``erofs.…`` storage options say, and what is refused."""

from __future__ import annotations

import pytest

from onggi.drivers.erofs_options import ErofsOptions, read_erofs_options
from onggi.errors import InvalidArgument


@pytest.mark.parametrize(
    "texts, expected",
    [
        ((), ErofsOptions()),
        (("erofs.block-size=512",), ErofsOptions(512)),
        (("erofs.block-size=512", "erofs.block-size=4096"), ErofsOptions(4096)),
        (("erofs.immutable=true",), ErofsOptions(512, True)),
        (("erofs.immutable=true", "erofs.immutable=false"), ErofsOptions()),
        (("overlay2.size=10G", "dm.basesize=1G"), ErofsOptions()),
    ],
)
def test_taken(texts, expected):
    assert read_erofs_options(texts) == expected


@pytest.mark.parametrize(
    "text, words",
    [
        ("erofs.block-size=1024", "erofs.block-size=1024: it is 512 or 4096"),
        ("erofs.immutable=yes", "erofs.immutable=yes: it is true or false"),
        ("erofs.block-size", "a value is missing"),
        ("erofs.blocksize=4096", "erofs.blocksize: there is no such setting"),
    ],
)
def test_refused(text, words):
    with pytest.raises(InvalidArgument, match=words):
        read_erofs_options([text])
