"""The configuration: where settings come from, which win, and what is refused in which words."""

from __future__ import annotations

import codecs
import json
import os
import pwd
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from onggi.config import DEFAULT_CONFIG_FILE, Config, ConfigError
from onggi.record import FrozenRecord


@pytest.fixture
def load(tmp_path: Path):
    """Load ``document`` as daemon.json (text and bytes as they are), with flags and an environment."""

    def _load(document: Any = None, environ: dict[str, str] | None = None, **flags: object) -> Config:
        path = tmp_path / "daemon.json"
        if isinstance(document, bytes):
            path.write_bytes(document)
        else:
            path.write_text(document if isinstance(document, str) else json.dumps(document or {}))
        return Config.load({"config_file": str(path), **flags}, {"HOME": "/root"} | (environ or {}))

    return _load


# --- sources ---------------------------------------------------------------------------------


def test_defaults_are_those_of_the_class() -> None:
    if Path(DEFAULT_CONFIG_FILE).exists():
        pytest.fail(f"{DEFAULT_CONFIG_FILE} exists on the host of the tests")
    assert Config.load({}, {"HOME": "/root"}) == Config()


def test_the_defaults(load) -> None:
    config = load()
    assert config.data_root == Path("/var/lib/onggi")
    assert config.exec_root == Path("/run/onggi")
    assert (config.max_concurrent_downloads, config.max_concurrent_uploads) == (3, 5)
    assert config.max_download_attempts == 5
    assert config.limit_rate_bytes_per_s is None
    assert config.parallel_range_min_bytes == 64 << 20
    assert [str(path) for path in config.certs_dirs] == ["/etc/onggi/certs.d", "/etc/docker/certs.d"]
    assert config.compat == "28"


def test_flags_win_over_environment_over_file_over_defaults(load) -> None:
    document = {"data-root": "/file", "exec-root": "/file", "storage-driver": "file"}
    environ = {"ONGGI_EXEC_ROOT": "/environment", "ONGGI_STORAGE_DRIVER": "environment"}
    config = load(document, environ, storage_driver="flag")
    assert str(config.data_root) == "/file"
    assert str(config.exec_root) == "/environment"
    assert config.storage_driver == "flag"
    assert config.max_download_attempts == 5


def test_who_is_not_root_has_images_at_home(load, monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    home = {"HOME": "/home/u"}
    config = load(None, home)
    assert str(config.data_root) == "/home/u/.local/share/onggi" and str(config.exec_root) == "/run/onggi"
    places = {**home, "XDG_DATA_HOME": "/home/u/data", "XDG_RUNTIME_DIR": "/run/user/1000"}
    config = load(None, places)
    assert (str(config.data_root), str(config.exec_root)) == ("/home/u/data/onggi", "/run/user/1000/onggi")
    assert str(load({"data-root": "/file"}, places).data_root) == "/file"
    assert str(load(None, {**places, "ONGGI_DATA_ROOT": "/environment"}).data_root) == "/environment"
    assert str(load(None, places, data_root="/flag").data_root) == "/flag"


def test_a_flag_that_is_none_counts_as_absent(load) -> None:
    assert str(load({"data-root": "/file"}, data_root=None).data_root) == "/file"


def test_the_configuration_is_frozen(load) -> None:
    with pytest.raises(FrozenRecord):
        load().debug = True


def test_the_default_file_may_be_missing_a_named_one_may_not(tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    for flags, environ in (({"config_file": missing}, {}), ({}, {"ONGGI_CONFIG": str(missing)})):
        with pytest.raises(ConfigError) as caught:
            Config.load(flags, environ)
        assert str(caught.value) == f"unable to configure Onggi with file {missing}: no such file"
        assert "ONGGI_CONFIG" in caught.value.hint


def test_the_file_can_be_named_by_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"debug": true}')
    config = Config.load({}, {"ONGGI_CONFIG": str(path)})
    assert config.debug
    assert config.config_file == path


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        Config.load({"config_file": tmp_path}, {})


def test_relative_paths_become_absolute(load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(data_root="root/../store").data_root == tmp_path / "store"


# --- daemon.json -----------------------------------------------------------------------------


def test_every_key_of_the_file(load) -> None:
    config = load(
        {
            "data-root": "/d",
            "exec-root": "/e",
            "storage-driver": "overlay2",
            "storage-opts": ["overlay2.size=1G"],
            "registry-mirrors": ["https://m"],
            "registry-mirrors-for": {"ghcr.io": ["http://g:5000/x"], "index.docker.io": []},
            "insecure-registries": ["r:5000"],
            "max-concurrent-downloads": 9,
            "max-concurrent-uploads": 8,
            "max-download-attempts": 7,
            "limit-rate": 1000,
            "stall-timeout": 1.5,
            "parallel-range-min-bytes": 4096,
            "certs-dirs": ["/c"],
            "labels": ["a=b"],
            "debug": True,
            "compat": "20.10",
            "proxies": {"http-proxy": "http://h", "https-proxy": "http://s", "no-proxy": "n"},
        }
    )
    assert config == Config(
        data_root=Path("/d"),
        exec_root=Path("/e"),
        config_file=config.config_file,
        storage_driver="overlay2",
        storage_opts=("overlay2.size=1G",),
        registry_mirrors=("https://m/",),
        registries={"ghcr.io": ("http://g:5000/x/",), "docker.io": ()},
        insecure_registries=("r:5000",),
        max_concurrent_downloads=9,
        max_concurrent_uploads=8,
        max_download_attempts=7,
        limit_rate_bytes_per_s=1000,
        stall_timeout_s=1.5,
        parallel_range_min_bytes=4096,
        certs_dirs=(Path("/c"),),
        labels=("a=b",),
        debug=True,
        compat="20.10",
        http_proxy="http://h",
        https_proxy="http://s",
        no_proxy="n",
    )


@pytest.mark.parametrize("text", ["", "  \n", "{}", '\ufeff{"debug": false}', '{"debug": null}'])
def test_a_file_that_says_nothing(load, text: str) -> None:
    assert load(text.encode("utf-8")).debug is False


@pytest.mark.parametrize(
    "mark, encoding", [(codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")]
)
def test_a_file_in_utf_16_with_its_mark(load, mark: bytes, encoding: str) -> None:
    assert load(mark + '{"debug": true}'.encode(encoding)).debug


def test_keys_that_only_dockerd_knows_are_accepted(load) -> None:
    document = {
        "log-level": "info",
        "shutdown-timeout": 5,
        "metrics-addr": "127.0.0.1:9323",
        "fixed-cidr-v6": "fd00::/80",
        "ip-forward": True,
        "network-control-plane-mtu": 1400,
        "swarm-default-advertise-addr": "eth0",
        "userns-remap": "default",
        "features": {"containerd-snapshotter": False},
        "hosts": ["unix:///var/run/docker.sock"],
        "live-restore": True,
    }
    config = load(document)
    assert config == Config(config_file=config.config_file)


@pytest.mark.parametrize(
    "document, named",
    [
        ({"data-rot": "/x"}, "data-rot"),
        ({"zz": 1, "aa": 2}, "aa, zz"),
        ({"proxies": {"ftp-proxy": "x"}}, "ftp-proxy"),
        ({"graph": "/x"}, "graph"),  # gone since 23.0; ignoring it would use another data root
    ],
)
def test_unknown_keys_are_refused_in_dockerd_s_words(load, tmp_path: Path, document: Any, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(document)
    assert str(caught.value) == (
        f"unable to configure Onggi with file {tmp_path / 'daemon.json'}: "
        f"the following directives don't match any configuration option: {named}"
    )


def test_an_unknown_key_gets_advice(load) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"registry-mirror": ["https://m"]})
    assert caught.value.hint == "did you mean registry-mirrors?"


@pytest.mark.parametrize(
    "text, reason",
    [
        ("[]", "it is not a JSON object"),
        ("{", "Expecting property name"),
        ('{"debug": true,}', "property name"),
        ("[" * 100_000, "recursion"),
        ('{"proxies": []}', "proxies must be an object"),
        ('{"debug": "yes"}', "debug: must be true or false"),
        ('{"debug": 1}', "debug: must be true or false"),
        ('{"data-root": 1}', "data-root: must be the name of a file or directory"),
        ('{"data-root": ""}', "data-root: must be the name of a file or directory"),
        ('{"storage-driver": []}', "storage-driver: must be a string"),
        ('{"storage-opts": "a"}', "storage-opts: must be a list"),
        ('{"storage-opts": [1]}', "storage-opts: must be a list of strings"),
        ('{"max-concurrent-downloads": "3"}', "max-concurrent-downloads: must be a whole number"),
        ('{"max-concurrent-downloads": true}', "max-concurrent-downloads: must be a whole number"),
        ('{"max-concurrent-downloads": 3.0}', "max-concurrent-downloads: must be a whole number"),
        ('{"max-concurrent-downloads": -1}', "max-concurrent-downloads: must not be negative: -1"),
        ('{"max-download-attempts": -1}', "max-download-attempts: must not be negative: -1"),
        ('{"stall-timeout": 0}', "stall-timeout: must be a number of seconds greater than 0"),
        ('{"stall-timeout": NaN}', "stall-timeout: must be a number of seconds greater than 0"),
        ('{"parallel-range-min-bytes": 0}', "parallel-range-min-bytes: must be greater than 0"),
        ('{"compat": "19"}', "compat: must be one of 28, 20.10: '19'"),
        ('{"registry-mirrors-for": []}', "registry-mirrors-for: must be an object"),
        ('{"registry-mirrors-for": {"a/b": []}}', 'registry-mirrors-for: invalid host "a/b"'),
        ('{"registry-mirrors-for": {"a": ["b"]}}', "registry-mirrors-for: invalid mirror: no scheme"),
        ('{"labels": ["a"]}', "labels: bad attribute format: a"),
        ('{"labels": ["a=1", "a=2"]}', "labels: conflict labels for a=2 and a=1"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_file_and_key(
    load, tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    message = str(caught.value)
    assert message.startswith(f"unable to configure Onggi with file {tmp_path / 'daemon.json'}: ")
    assert reason in message
    assert "\n" not in message


def test_bytes_that_are_not_text_are_refused(load) -> None:
    with pytest.raises(ConfigError, match="utf-8"):
        load(b'{"data-root": "\xff"}')


def test_zero_stands_for_the_default_as_in_dockerd(load) -> None:
    document = {"max-concurrent-downloads": 0, "max-concurrent-uploads": 0, "max-download-attempts": 0}
    config = load({**document, "limit-rate": 0})
    assert config == Config(config_file=config.config_file)


def test_equal_labels_are_one(load) -> None:
    assert load({"labels": ["a=1", "b=", "a=1"]}).labels == ("a=1", "b=")


# --- environment -----------------------------------------------------------------------------


def test_every_setting_has_a_variable(load) -> None:
    environ = {
        "ONGGI_DATA_ROOT": "/d",
        "ONGGI_EXEC_ROOT": "/e",
        "ONGGI_STORAGE_DRIVER": "overlay2",
        "ONGGI_STORAGE_OPTS": "a=1, b=2",
        "ONGGI_REGISTRY_MIRRORS": "https://m,https://n/",
        "ONGGI_REGISTRIES": '{"ghcr.io": ["https://g"]}',
        "ONGGI_INSECURE_REGISTRIES": "r:5000,10.1.2.3/8",
        "ONGGI_MAX_CONCURRENT_DOWNLOADS": "9",
        "ONGGI_MAX_CONCURRENT_UPLOADS": "8",
        "ONGGI_MAX_DOWNLOAD_ATTEMPTS": "7",
        "ONGGI_LIMIT_RATE_BYTES_PER_S": "1000",
        "ONGGI_STALL_TIMEOUT_S": "1.5",
        "ONGGI_PARALLEL_RANGE_MIN_BYTES": "4096",
        "ONGGI_PARTIAL_MAX_AGE_S": "3600",
        "ONGGI_CERTS_DIRS": "/c,/d",
        "ONGGI_DOCKER_CONFIG_DIR": "/k",
        "ONGGI_DOCKER_AUTH_CONFIG": "{}",
        "ONGGI_HTTP_PROXY": "http://h",
        "ONGGI_HTTPS_PROXY": "http://s",
        "ONGGI_NO_PROXY": "n",
        "ONGGI_LABELS": "a=b",
        "ONGGI_DEBUG": "1",
        "ONGGI_KEEP_BLOBS": "true",
        "ONGGI_COMPAT": "20.10",
        "ONGGI_DEFAULT_PLATFORM": "linux/arm64",
        "ONGGI_LOG_DRIVER": "local",
        "ONGGI_LOG_OPTS": '{"max-size": "1m"}',
        "ONGGI_DEFAULT_RUNTIME": "crun",
        "ONGGI_RUNTIMES": '{"r": {"path": "/r", "runtimeArgs": ["--a"]}}',
        "ONGGI_CGROUP_DRIVER": "native.cgroupdriver=systemd",
        "ONGGI_CGROUP_PARENT": "/p",
        "ONGGI_INIT": "true",
        "ONGGI_INIT_PATH": "/i",
        "ONGGI_DEFAULT_ULIMITS": '{"nofile": {"Hard": 2, "Soft": 1}}',
        "ONGGI_DEFAULT_SHM_BYTES": "3M",
        "ONGGI_DEFAULT_IPC_MODE": "shareable",
        "ONGGI_DEFAULT_CGROUPNS_MODE": "host",
        "ONGGI_NO_NEW_PRIVILEGES": "1",
        "ONGGI_SECCOMP_PROFILE": "unconfined",
        "ONGGI_BRIDGE": "b0",
        "ONGGI_BIP": "10.0.0.1/24",
        "ONGGI_DEFAULT_ADDRESS_POOLS": '[{"base": "10.0.0.0/8", "size": 24}]',
        "ONGGI_IP": "127.0.0.1",
        "ONGGI_MTU": "1400",
        "ONGGI_USERLAND_PROXY": "false",
    }
    config = load(None, environ)
    assert config == Config(
        data_root=Path("/d"),
        exec_root=Path("/e"),
        config_file=config.config_file,
        storage_driver="overlay2",
        storage_opts=("a=1", "b=2"),
        registry_mirrors=("https://m/", "https://n/"),
        registries={"ghcr.io": ("https://g/",)},
        insecure_registries=("r:5000", "10.0.0.0/8"),
        max_concurrent_downloads=9,
        max_concurrent_uploads=8,
        max_download_attempts=7,
        limit_rate_bytes_per_s=1000,
        stall_timeout_s=1.5,
        parallel_range_min_bytes=4096,
        partial_max_age_s=3600.0,
        certs_dirs=(Path("/c"), Path("/d")),
        docker_config_dir=Path("/k"),
        docker_auth_config="{}",
        http_proxy="http://h",
        https_proxy="http://s",
        no_proxy="n",
        labels=("a=b",),
        debug=True,
        keep_blobs=True,
        compat="20.10",
        default_platform="linux/arm64",
        log_driver="local",
        log_opts={"max-size": "1m"},
        default_runtime="crun",
        runtimes={"r": ("/r", ("--a",))},
        cgroup_driver="systemd",
        cgroup_parent="/p",
        init=True,
        init_path="/i",
        default_ulimits=({"Name": "nofile", "Hard": 2, "Soft": 1},),
        default_shm_bytes=3 * 1024**2,
        default_ipc_mode="shareable",
        default_cgroupns_mode="host",
        no_new_privileges=True,
        seccomp_profile="unconfined",
        bridge="b0",
        bip="10.0.0.1/24",
        default_address_pools=(("10.0.0.0/8", 24),),
        ip="127.0.0.1",
        mtu=1400,
        userland_proxy=False,
    )
    covered = {f"ONGGI_{item.name.upper()}" for item in fields(Config)} - {"ONGGI_CONFIG_FILE"}
    assert covered == set(environ)


@pytest.mark.parametrize(
    "text, expected", [("true", True), ("T", True), ("0", False), ("False", False), ("", False)]
)
def test_truth_in_the_environment(load, text: str, expected: bool) -> None:
    assert load(None, {"ONGGI_DEBUG": text}).debug is expected


@pytest.mark.parametrize(
    "variable, text, reason",
    [
        ("ONGGI_DEBUG", "yes", "must be true or false"),
        ("ONGGI_MAX_DOWNLOAD_ATTEMPTS", "many", "must be a whole number"),
        ("ONGGI_STALL_TIMEOUT_S", "inf", "must be a number of seconds greater than 0"),
        ("ONGGI_STALL_TIMEOUT_S", "soon", "must be a number of seconds greater than 0"),
        ("ONGGI_REGISTRIES", "{", "must be an object: registry → list of mirrors"),
        ("ONGGI_COMPAT", "29", "must be one of 28, 20.10: '29'"),
    ],
)
def test_variables_that_do_not_fit_are_refused_by_name(load, variable: str, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {variable: text})
    assert str(caught.value) == f"{variable}: {reason}"


def test_docker_s_own_variables(load) -> None:
    config = load(None, {"DOCKER_CONFIG": "/k", "DOCKER_DEFAULT_PLATFORM": "linux/s390x", "HOME": "/h"})
    assert str(config.docker_config_dir) == "/k"
    assert config.default_platform == "linux/s390x"


def test_credentials_in_the_environment_do_not_show(load) -> None:
    config = load(None, {"DOCKER_AUTH_CONFIG": '{"auths": {"a.example": {"auth": "dTpwYXNz"}}}'})
    assert "dTpwYXNz" in config.docker_auth_config
    assert "dTpwYXNz" not in repr(config)


def test_without_root_certificates_lie_where_dockerd_without_root_has_them(load, monkeypatch) -> None:
    both = ["/etc/onggi/certs.d", "/etc/docker/certs.d"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    home = load(None, {"HOME": "/home/o"})
    assert [str(path) for path in home.certs_dirs] == ["/home/o/.config/docker/certs.d", *both]
    named = load(None, {"HOME": "/home/o", "XDG_CONFIG_HOME": "/x"})
    assert [str(path) for path in named.certs_dirs] == ["/x/docker/certs.d", *both]
    assert load({"certs-dirs": ["/only"]}).certs_dirs == (Path("/only"),)


def test_credentials_lie_in_the_home_directory(load) -> None:
    assert str(load(None, {"HOME": "/home/o"}).docker_config_dir) == "/home/o/.docker"
    assert str(load(None, {}).docker_config_dir) == "/root/.docker"


def test_proxies_of_the_file_win_over_those_of_every_program(load) -> None:
    environ = {"HTTPS_PROXY": "http://upper", "https_proxy": "http://lower", "no_proxy": "localhost"}
    assert load(None, environ).https_proxy == "http://upper"
    config = load({"proxies": {"https-proxy": "http://file"}}, environ)
    assert config.https_proxy == "http://file"
    assert config.no_proxy == "localhost"


def test_a_cgi_request_cannot_set_the_proxy(load) -> None:
    environ = {"HTTP_PROXY": "http://evil", "HTTPS_PROXY": "http://good", "REQUEST_METHOD": "GET"}
    config = load(None, environ)
    assert (config.http_proxy, config.https_proxy) == ("", "http://good")
    assert load(None, environ | {"http_proxy": "http://mine"}).http_proxy == "http://mine"


def test_the_home_of_a_service_without_one() -> None:
    home = pwd.getpwuid(os.getuid()).pw_dir
    assert str(Config.load({}, {}).docker_config_dir) == f"{home}/.docker"


# --- flags -----------------------------------------------------------------------------------


def test_unknown_settings_of_a_caller(load) -> None:
    with pytest.raises(ConfigError, match="unknown setting: colour"):
        load(colour="blue")


def test_flags_are_checked_like_the_rest(load) -> None:
    with pytest.raises(ConfigError, match=r"^max-download-attempts: must be a whole number$"):
        load(max_download_attempts="many")
    with pytest.raises(ConfigError, match=r"^registry-mirrors: invalid mirror"):
        load(registry_mirrors=["ftp://m"])
    assert load(registry_mirrors=("http://m",), debug=True, data_root=Path("/d")).registry_mirrors == (
        "http://m/",
    )


def test_a_mirror_listed_twice_is_one(load) -> None:
    assert load({"registry-mirrors": ["http://m", "http://m/"]}).registry_mirrors == ("http://m/",)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"runtimes": {"x": {}}}, "runtimes: runtime x: a path is needed"),
        ({"exec-opts": ["native.cgroupdriver=x"]}, "option native.cgroupdriver is only cgroupfs or systemd"),
        ({"exec-opts": ["isolation=hyperv"]}, "invalid option 'isolation'"),
        ({"default-ulimits": {"nofile": {"Hard": 1, "Soft": 2}}}, "ulimit soft limit must be less than"),
        ({"default-shm-size": "x"}, "default-shm-size: invalid size: 'x'"),
        ({"default-ipc-mode": "host"}, 'IPC mode "host" is not supported as default value'),
        ({"default-cgroupns-mode": "x"}, 'default cgroup namespace mode ("x") is invalid'),
        ({"log-opts": {"max-size": 1}}, "log-opts: must be an object of strings"),
        ({"init": "yes"}, "init: must be true or false"),
    ],
)
def test_what_containers_get_is_checked(load, document: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(document)
    assert words in caught.value.message
