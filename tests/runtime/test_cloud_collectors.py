"""awslogs and gcplogs: by the real SDKs in an environment of their own, and without them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from onggi.engine.containers.log_drivers import InvalidLogOption, check_log_config, log_drivers
from onggi.engine.containers.log_settings import log_settings
from onggi.runtime.collectors.awslogs import AwsLogs, _cut, _pattern
from onggi.runtime.collectors.collector import CollectorError
from onggi.runtime.collectors.gcplogs import GcpLogs
from tests.engine.containers.test_log_drivers import stored
from tests.runtime.test_collectors import about

ROOT = Path(__file__).parents[2]


def _outside() -> list[str | Path]:
    """Words that execute a program in the network of who called the tests: theirs leads nowhere."""
    pid, oldest = os.getppid(), 0
    while pid > 1 and os.access(f"/proc/{pid}/ns/net", os.R_OK):
        oldest = pid
        status = Path(f"/proc/{pid}/stat").read_text()
        pid = int(status.rpartition(")")[2].split()[1])
    return ["nsenter", f"--net=/proc/{oldest}/ns/net"] if oldest and os.geteuid() == 0 else []


@pytest.mark.soak
def test_with_the_sdks(tmp_path: Path) -> None:
    """What the extras name is installed, and talks to endpoints that check what they get."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    wanted = [*extras["awslogs"], *extras["gcplogs"]]
    subprocess.run([*_outside(), python, "-m", "pip", "install", "-q", *wanted], check=True)
    words = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([python, ROOT / "tests" / "runtime" / "cloud.py"], check=True, env=words)


@pytest.mark.parametrize(
    ("collector", "module", "words"),
    [
        (AwsLogs, "boto3", "pip install 'onggi[awslogs]'"),
        (GcpLogs, "google.cloud.logging", "pip install 'onggi[gcplogs]'"),
    ],
)
def test_without_the_sdk_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, collector, module: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    with pytest.raises(CollectorError) as caught:
        collector(about(), {"awslogs-group": "g"}).open()
    assert words in str(caught.value)


def test_only_what_works_is_listed() -> None:
    here = {name for name, module in (("awslogs", "boto3"), ("gcplogs", "google")) if find_spec(module)}
    assert {"awslogs", "gcplogs"} & set(log_drivers()) == here


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("awslogs", {}, "must specify a value for log opt 'awslogs-group'"),
        (
            "awslogs",
            {"awslogs-group": "g", "awslogs-create-group": "x"},
            "must specify valid value for log opt 'awslogs-create-group': strconv.ParseBool: "
            'parsing "x": invalid syntax',
        ),
        (
            "awslogs",
            {"awslogs-group": "g", "awslogs-max-buffered-events": "x"},
            "must specify a positive integer for log opt 'awslogs-max-buffered-events': x",
        ),
        (
            "awslogs",
            {"awslogs-group": "g", "awslogs-datetime-format": "x", "awslogs-multiline-pattern": "x"},
            "you cannot configure log opt 'awslogs-datetime-format' and 'awslogs-multiline-pattern' at the "
            "same time",
        ),
        ("awslogs", {"x": "y"}, "unknown log opt 'x' for awslogs log driver"),
        ("gcplogs", {"x": "y"}, '"x" is not a valid option for the gcplogs driver'),
    ],
)
def test_dockerds_words(kind: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidLogOption) as caught:
        check_log_config(kind, options)
    assert caught.value.message == words


def test_patterns_and_cuts() -> None:
    starts = _pattern({"awslogs-datetime-format": "[%b %d, %Y %H:%M:%S%L]"})
    assert starts is not None
    assert starts.search("[May 01, 2017 19:00:01.123] x") and not starts.search("May 01, 2017")
    assert [len(piece) for piece in _cut("é" * 131_059)] == [131_059]
    assert [len(piece) for piece in _cut("é" * 131_060)] == [131_059, 1]
    with pytest.raises(CollectorError, match="could not parse multiline pattern"):
        _pattern({"awslogs-multiline-pattern": "("})


def test_what_an_sdk_sees_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "k", "AWS_REGION": "r", "SECRET": "s", "GOOGLE_X": "g"}.items():
        monkeypatch.setenv(name, value)

    def seen(driver: str, **options: str) -> dict[str, str]:
        environment = log_settings(stored(driver, **options), tmp_path)["environment"]
        return {name: environment.get(name, "") for name in (*_NAMES, "SECRET")}

    amazon = {"awslogs-group": "g"}
    assert seen("awslogs", **amazon) == dict(zip((*_NAMES, "SECRET"), ("k", "r", "", "", ""), strict=True))
    by_endpoint = seen("awslogs", **amazon, **{"awslogs-credentials-endpoint": "/creds"})
    assert (by_endpoint["AWS_ACCESS_KEY_ID"], by_endpoint[_NAMES[2]]) == ("", "/creds")
    assert seen("gcplogs")["GOOGLE_X"] == "g" and not seen("gcplogs")["AWS_ACCESS_KEY_ID"]
    assert not any(seen("syslog").values())


_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "GOOGLE_X")
