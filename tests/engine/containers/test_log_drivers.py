"""Options of log drivers: what is taken, dockerd's words for what is not, attributes and tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onggi.engine.containers.log_details import extra_attributes, log_tag
from onggi.engine.containers.log_drivers import InvalidLogOption, check_log_config, log_config
from onggi.engine.containers.log_settings import LogFailed, log_settings
from onggi.runtime.collectors.option_values import boolean, human_bytes, integer
from onggi.store.containers import StoredContainer

ID = "a1" * 32


def stored(kind: str = "json-file", **options: str) -> StoredContainer:
    document: dict[str, Any] = {
        "ID": ID,
        "Name": "/web",
        "Image": "sha256:" + "b" * 64,
        "Path": "sh",
        "Args": ["-c", "true"],
        "Created": "2026-01-01T00:00:00.5Z",
        "Config": {
            "Image": "box:1",
            "Labels": {"team": "a", "tier": "b", "other": "c"},
            "Env": ["A=1", "B=2=3", "LONE"],
        },
        "State": {},
    }
    return StoredContainer(document, {"LogConfig": {"Type": kind, "Config": options}})


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("nope", {}, "logger: no log driver named 'nope' is registered"),
        ("json-file", {"x": "y"}, "unknown log opt 'x' for json-file log driver"),
        ("local", {"x": "y"}, "unknown log opt 'x' for log driver local"),
        ("json-file", {"mode": "x"}, "logger: logging mode not supported: x"),
        (
            "local",
            {"max-buffer-size": "1m"},
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            "json-file",
            {"mode": "non-blocking", "max-buffer-size": "zz"},
            "error parsing option max-buffer-size: invalid size: 'zz'",
        ),
    ],
)
def test_what_is_refused(kind: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidLogOption) as caught:
        check_log_config(kind, options)
    assert caught.value.message == words


def test_the_engines_default() -> None:
    ours = {"max-size": "1m", "max-file": "2"}
    assert log_config(None, "local", ours) == {"Type": "local", "Config": {"max-file": "2", "max-size": "1m"}}
    given = {"Type": "local", "Config": {"max-size": "5m"}}
    assert log_config(given, "local", ours)["Config"] == {"max-file": "2", "max-size": "5m"}
    assert log_config({"Type": "json-file", "Config": {}}, "local", ours)["Config"] == {}
    with pytest.raises(InvalidLogOption):
        log_config(None, "journal", {})


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("json-file", {"max-size": "x"}, "invalid size: 'x'"),
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"max-file": "x"}, 'strconv.Atoi: parsing "x": invalid syntax'),
        ("json-file", {"compress": "x"}, 'strconv.ParseBool: parsing "x": invalid syntax'),
        (
            "json-file",
            {"compress": "true", "max-file": "1"},
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        ("json-file", {"env-regex": "("}, "error parsing regexp: "),
        ("json-file", {"tag": "{{.Foo}}"}, "can't evaluate field Foo in type *logger.Info"),
        ("local", {"max-size": "x"}, "invalid value for max-size: x: invalid size: 'x'"),
        ("local", {"max-file": "1"}, "compression cannot be enabled when max file count is 1"),
        ("local", {"compress": "x"}, "invalid boolean value for compress: "),
    ],
)
def test_what_a_start_refuses(tmp_path: Path, kind: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(LogFailed) as caught:
        log_settings(stored(kind, **options), tmp_path)
    assert caught.value.message.startswith("failed to initialize logging driver: ")
    assert words in caught.value.message


def test_settings(tmp_path: Path) -> None:
    assert log_settings(stored("none"), tmp_path) == {"type": "none"}
    assert log_settings(stored(), tmp_path) == {
        "type": "json-file",
        "path": f"{tmp_path}/{ID}-json.log",
        "max_bytes": 100 * 1024**2,
        "max_files": 5,
        "compress": False,
        "attributes": "",
    }
    one = log_settings(stored(**{"max-size": "10m", "labels": "team", "tag": "<{{.Name}}>"}), tmp_path)
    assert (one["max_bytes"], one["max_files"]) == (10_000_000, 1)
    assert one["attributes"] == '{"tag":"\\u003cweb\\u003e","team":"a"}'
    local = log_settings(stored("local"), tmp_path)
    assert local["path"] == f"{tmp_path}/local-logs/container.log"
    assert (local["max_bytes"], local["max_files"], local["compress"]) == (20 * 1024**2, 5, True)


def test_attributes_and_tags() -> None:
    chosen = {"labels": "team,nope", "labels-regex": "^ti", "env": "A", "env-regex": "^B$"}
    assert extra_attributes(stored(), chosen) == {"team": "a", "tier": "b", "A": "1", "B": "2=3"}
    template = "{{.ID}} {{ .FullID }} {{.Name}}/{{.ImageName}} {{.ImageID}} {{.Command}} {{.DaemonName}}"
    assert log_tag(stored(), {"tag": template}) == (
        f"{ID[:12]} {ID} web/box:1 sha256:bbbbb sh -c true docker"
    )
    assert log_tag(stored(), {}) == ID[:12]


def test_values() -> None:
    assert (human_bytes("10k"), human_bytes("10k", binary=True), human_bytes("1.5 MiB")) == (
        10_000,
        10_240,
        1_500_000,
    )
    assert (boolean("T"), boolean("0"), integer("-3")) == (True, False, -3)
    for read, text in ((human_bytes, "-1"), (boolean, "yes"), (integer, "1.0")):
        with pytest.raises(ValueError):
            read(text)  # type: ignore[operator]
