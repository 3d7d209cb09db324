"""Fixtures for every test: real peers, started when first asked for and always stopped.

In CI nothing may be skipped but what ``kernel-cannot.txt`` names.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.peers.fixtures"]

_ALLOWED = Path(__file__).with_name("kernel-cannot.txt")


def _allowed_reasons() -> list[str]:
    lines = _ALLOWED.read_text("utf-8").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With CI set, a skip that the list does not name is a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in _allowed_reasons()):
            report.outcome = "failed"
            report.longrepr = f"skipped, but not named in {_ALLOWED.name}: {reason}"
