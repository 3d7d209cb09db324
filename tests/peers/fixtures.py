"""Fixtures over the real peers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.peers.daemon import Daemon, onggi_environment
from tests.peers.images import Layout, member, odd_layers, tar
from tests.peers.registries import Authority, Registry, TokenServer, htpasswd, start_registry

__all__ = ["Onggi", "shared_registry"]


def shared_registry() -> Path | None:
    """A docker-registry storage of real images, where one is at hand."""
    named = os.environ.get("ONGGI_TEST_REGISTRY")
    path = Path(named) if named else Path(__file__).parents[3] / "shared" / "registry"
    return path if path.is_dir() else None


class Onggi:
    """The onggi command line on one data root."""

    def __init__(self, data_root: Path, config: Path) -> None:
        self.data_root = data_root
        self._config = config

    def run(self, *words: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            env=self.environment,
            input=stdin,
            check=False,
        )
        assert not check or done.returncode == 0, f"onggi {' '.join(words)}: {done.stderr}{done.stdout}"
        return done

    def command(self, *words: str) -> list[str]:
        """A command line on the data root, to be run in :attr:`environment`."""
        return [sys.executable, "-m", "onggi", "--data-root", str(self.data_root), *words]

    @property
    def run_directory(self) -> Path:
        """Where running containers are."""
        return self._config.parent / "run"

    @property
    def environment(self) -> dict[str, str]:
        return onggi_environment(
            ONGGI_CONFIG=str(self._config),
            ONGGI_EXEC_ROOT=str(self.run_directory),
            DOCKER_CONFIG=str(self._config.parent / "docker"),
        )

    def output(self, *words: str) -> str:
        return self.run(*words).stdout


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def generated(tmp_path_factory) -> Layout:
    """Generated images: odd members, the same layer twice, 125 layers, platforms, compressions."""
    layout = Layout(tmp_path_factory.mktemp("generated") / "layout")
    odd = odd_layers()
    layout.image("library/odd:latest", odd)
    first, second = tar([member("a", b"1")]), tar([member("b", b"2")])
    layout.image("library/twice:latest", [first, second, first])
    layout.image("library/deep:latest", [tar([member(f"f{n}", b"%d" % n)]) for n in range(125)])
    layout.image("library/plain:latest", odd, compression="none")
    layout.image("library/zstd:latest", odd, compression="zstd")
    layout.image("library/nohistory:latest", [first], history=[])
    platforms = [("amd64", ""), ("arm", "v5"), ("arm", "v7"), ("arm64", "")]
    entries = []
    for architecture, variant in platforms:
        content = tar([member("arch", f"{architecture}{variant}".encode())])
        descriptor = layout.manifest([first, content], architecture=architecture, variant=variant)
        platform = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
        entries.append((descriptor, platform))
    layout.name("library/many:latest", layout.index(entries))
    for tag in ("v1", "v2", "v3"):
        layout.image("library/tags:" + tag, [first, tar([member(tag, b"x")])])
    return layout


@pytest.fixture(scope="session")
def hub(generated) -> Iterator[str]:
    """The generated images on our own registry; gives its URL."""
    with serving(OCILayout(generated.directory)) as url:
        yield url


@pytest.fixture
def onggi(tmp_path, hub) -> Onggi:
    """The command line, with the generated registry as Docker Hub's mirror, in the words of Docker 20.10."""
    config = tmp_path / "daemon.json"
    config.write_text(f'{{"registry-mirrors": ["{hub}"], "compat": "20.10"}}')
    return Onggi(tmp_path / "onggi", config)


@pytest.fixture
def dockerd(tmp_path, hub) -> Iterator[Daemon]:
    """A dockerd with a fresh data root and the same mirror."""
    with Daemon(tmp_path / "docker", tmp_path / "dockerd", mirror=hub) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def real_registry(tmp_path_factory) -> Iterator[Registry | None]:
    """docker-registry over a copy of real images; None where there are none."""
    source = shared_registry()
    if source is None:
        yield None
        return
    directory = tmp_path_factory.mktemp("real")
    subprocess.run(["cp", "-r", str(source), str(directory / "storage")], check=True)
    registry = start_registry(directory / "registry", directory / "storage")
    yield registry
    registry.process.stop()


@pytest.fixture(scope="session")
def filled_storage(tmp_path_factory, generated) -> Path:
    """A docker-registry storage with the generated image library/many, pushed by skopeo."""
    directory = tmp_path_factory.mktemp("filled")
    registry = start_registry(directory / "plain", directory / "storage")
    source = f"oci:{generated.directory}:docker.io/library/tags:v1"
    target = f"docker://{registry.host}/private/image:v1"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", source, target], check=True
    )
    registry.process.stop()
    return directory / "storage"


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory, request) -> Iterator[Registry]:
    """docker-registry over the real images or, where there are none, over a generated one."""
    real = request.getfixturevalue("real_registry")
    if real is not None:
        yield real
        return
    storage = request.getfixturevalue("filled_storage")
    registry = start_registry(tmp_path_factory.mktemp("docker-registry"), storage)
    yield registry
    registry.process.stop()


@pytest.fixture
def tls_registry(tmp_path, authority, filled_storage) -> Iterator[Registry]:
    """TLS and Basic authentication: user ``u``, password ``p``."""
    certificate, key = authority.issue("registry")
    passwords = htpasswd(tmp_path / "htpasswd", "u", "p")
    registry = start_registry(
        tmp_path / "tls",
        filled_storage,
        http={"tls": {"certificate": str(certificate), "key": str(key)}},
        auth={"htpasswd": {"realm": "test", "path": str(passwords)}},
    )
    yield registry
    registry.process.stop()


@pytest.fixture
def token_server(authority) -> Iterator[TokenServer]:
    server = TokenServer(authority, {"u": "p"})
    yield server
    server.stop()


@pytest.fixture
def token_registry(tmp_path, authority, filled_storage, token_server) -> Iterator[Registry]:
    """TLS and bearer tokens from ``token_server``."""
    certificate, key = authority.issue("registry")
    registry = start_registry(
        tmp_path / "token",
        filled_storage,
        http={"tls": {"certificate": str(certificate), "key": str(key)}},
        auth={
            "token": {
                "realm": token_server.realm,
                "service": token_server.service,
                "issuer": token_server.issuer,
                "rootcertbundle": str(token_server.certificate),
            }
        },
    )
    yield registry
    registry.process.stop()
