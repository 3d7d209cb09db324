"""Fixtures for every test: real peers, started when first asked for and always stopped.

In CI nothing may be skipped but what ``kernel-cannot.txt`` names: a skip for any other reason is
a failure, of a test as of a whole file.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from onggi.runtime.supervisor.kernel import reset_reserved_signals
from tests.peers.namespace import enter_private_mounts, enter_private_network

pytest_plugins = ["tests.peers.fixtures", "tests.peers.tools"]

_ALLOWED = Path(__file__).with_name("kernel-cannot.txt")


# How long an example takes says how busy the machine is, not how good the code is.
settings.register_profile("onggi", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("onggi")


def pytest_configure(config: pytest.Config) -> None:
    _forget_ignored_signals()
    enter_private_mounts()
    enter_private_network()


def _forget_ignored_signals() -> None:
    """make ignores one of the C library's, a shell SIGINT in the background: daemons would inherit it."""
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # these Python ignores
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    reset_reserved_signals()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _checked((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _checked((yield))


def _checked(report):
    """The report, turned into a failure when it is a skip that CI does not accept."""
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in _accepted_reasons()):
            report.outcome = "failed"
            report.longrepr = f"{reason}; {_ALLOWED.name} does not name that"
    return report


def _accepted_reasons() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in _ALLOWED.read_text("utf-8").splitlines())
    return [line for line in lines if line]
