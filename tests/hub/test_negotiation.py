"""Accept headers, as Docker, containerd, skopeo and curl send them."""

from __future__ import annotations

import pytest

from onggi.hub.negotiation import accepts
from onggi.oci.media_types import ACCEPTED_MANIFESTS, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], True),
        ([""], True),
        (["*/*"], True),
        (["application/*;q=0.5"], True),
        (ACCEPTED_MANIFESTS, True),
        ([", ".join(ACCEPTED_MANIFESTS)], True),
        (["application/json"], True),
        (["APPLICATION/VND.OCI.IMAGE.INDEX.V1+JSON"], True),
        ([DOCKER_MANIFEST, OCI_MANIFEST], False),
        ([f"{OCI_INDEX};q=0, */*"], False),
        ([f"{OCI_INDEX} ; q=0.0"], False),
        ([f"{OCI_INDEX};charset=utf-8;q=0.1"], True),
        (["text/*"], False),
    ],
)
def test_an_index_is_offered(lines: list[str], expected: bool) -> None:
    assert accepts(lines, OCI_INDEX) is expected
