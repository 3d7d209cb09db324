"""docker-registry from Debian: plain, with TLS and a password file, with bearer tokens."""

from __future__ import annotations

import base64
import datetime
import http.server
import json
import ssl
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from tests.peers.processes import Process, free_port, listening, require, wait_until

__all__ = ["Authority", "Registry", "TokenServer", "htpasswd", "start_registry"]


@dataclass
class Authority:
    """A certificate authority of one test run; issues certificates for 127.0.0.1."""

    directory: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._certificate = self._sign("onggi test authority", self.key, ca=True)
        self.ca = self.directory / "ca.crt"
        self.ca.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, days: int = 1) -> tuple[Path, Path]:
        """Certificate and key files for a server or client called ``name``."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, key, ca=False, days=days)
        files = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _sign(self, name: str, key, *, ca: bool, days: int = 1) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "onggi test authority")])
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )


@dataclass
class Registry:
    """A running docker-registry; ``host`` is ``127.0.0.1:port``."""

    port: int
    scheme: str
    process: Process

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"


def start_registry(directory: Path, storage: Path, **sections: object) -> Registry:
    """Start docker-registry over ``storage``; ``sections`` are merged into its configuration."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    http_section: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    http_section.update(sections.pop("http", {}))
    document = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": http_section,
        **sections,
    }
    config = directory / "config.yml"
    config.write_text(json.dumps(document))
    process = Process([require("docker-registry"), "serve", config], directory / "log")
    wait_until(lambda: listening(port), "docker-registry")
    return Registry(port, "https" if "tls" in http_section else "http", process)


class TokenServer:
    """Docker's token protocol: Basic credentials or an identity token in, short-lived tokens out.

    ``expires_in`` is seconds and may be changed; ``requests`` are the queries and forms that came.
    """

    service = "onggi.test"
    issuer = "onggi.test"

    def __init__(self, authority: Authority, users: dict[str, str], expires_in: int = 60) -> None:
        self._users = users
        self.expires_in = expires_in
        self.requests: list[dict[str, list[str]]] = []
        self.identities: dict[str, str] = {}
        self.port = free_port()
        certificate, key = authority.issue(f"token-{uuid.uuid4().hex[:8]}")
        self.certificate = certificate
        self._key = serialization.load_pem_private_key(key.read_bytes(), None)
        self._x5c = base64.b64encode(
            x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
        ).decode()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def realm(self) -> str:
        return f"https://127.0.0.1:{self.port}/token"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                query = parse_qs(urlsplit(self.path).query)
                outer.requests.append(query)
                user = outer._authenticate(self.headers.get("Authorization", ""))
                self._grant(user, query, "token", identity="offline_token" in query)

            def do_POST(self):
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                outer.requests.append(form)
                user = outer.identities.get(form.get("refresh_token", [""])[0])
                self._grant(user, form, "access_token", identity=False)

            def _grant(self, user, asked, key, *, identity):
                if user is None:
                    error = {"code": "UNAUTHORIZED", "message": "incorrect username or password"}
                    self._reply(401, {"errors": [error]})
                    return
                scopes = [scope for words in asked.get("scope", []) for scope in words.split(" ")]
                document = {key: outer.token(user, scopes), "expires_in": outer.expires_in}
                if identity:
                    document["refresh_token"] = outer.identity(user)
                self._reply(200, document)

            def _reply(self, status, document):
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        return Handler

    def identity(self, user: str) -> str:
        """An identity token: what ``login`` keeps in place of the password."""
        name = uuid.uuid4().hex
        self.identities[name] = user
        return name

    def _authenticate(self, header: str) -> str | None:
        if not header:
            return ""
        name, _, password = base64.b64decode(header.partition(" ")[2]).decode().partition(":")
        return name if self._users.get(name) == password else None

    def token(self, user: str, scopes: list[str]) -> str:
        """A JWT (ES256); anonymous users get no access at all."""
        access = []
        for scope in scopes if user else []:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        header = {"typ": "JWT", "alg": "ES256", "x5c": [self._x5c]}
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": self.service,
            "exp": now + self.expires_in,
            "nbf": now - 10,
            "iat": now,
            "jti": uuid.uuid4().hex,
            "access": access,
        }
        signed = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
        signature = self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(signature)
        return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def htpasswd(path: Path, user: str, password: str) -> Path:
    """A password file; docker-registry takes bcrypt only, which Apache's tool makes."""
    command = [require("htpasswd"), "-nbB", user, password]
    path.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return path
