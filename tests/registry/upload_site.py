"""A registry that takes pushes, in this process, and goes wrong where a test says."""

from __future__ import annotations

import hashlib
import http.server
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import parse_qs, urlsplit

__all__ = ["Fault", "Push", "UploadSite"]

_PIECE_BYTES = 16 * 1024


@dataclass
class Push:
    """One request as it came; ``received`` is how many bytes of its body were read."""

    method: str
    target: str
    headers: Message
    received: int = 0

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}


@dataclass
class Fault:
    """What happens instead. ``cut_after``: bytes of the body that are taken before the connection breaks.

    ``deaf``: the work is done, but the connection breaks before the answer. ``delay_s``: the
    answer comes late. ``status``: only this answer, with ``headers``; the body is not looked at.
    """

    cut_after: int | None = None
    deaf: bool = False
    delay_s: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class UploadSite:
    """``fault(push)`` is asked before each request is served; None lets it pass."""

    def __init__(self) -> None:
        self.requests: list[Push] = []
        self.uploads: dict[str, bytearray] = {}
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.fault: Callable[[Push], Fault | None] = lambda push: None
        # The address that uploads are sent to, where it is not this one's.
        self.uploads_at = ""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def asked(self, method: str, part: str = "") -> list[Push]:
        return [push for push in self.requests if push.method == method and part in push.path]

    @property
    def sent_bytes(self) -> int:
        """Bytes of all bodies."""
        return sum(push.received for push in self.requests)


def _handler(site: UploadSite) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def _serve(self) -> None:
            push = Push(self.command, self.path, self.headers)
            site.requests.append(push)
            fault = site.fault(push) or Fault()
            if fault.status:
                for _ in self._body(push):
                    pass
                self._answer(fault.status, fault.headers, fault.body)
                return
            answer = self._work(push, fault)
            time.sleep(fault.delay_s)
            if answer is None or fault.deaf:
                self._break()
            else:
                self._answer(*answer)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815

        def _work(self, push: Push, fault: Fault) -> tuple[int, dict[str, str], bytes] | None:
            if push.path == "/v2/":
                return 200, {}, b"{}"
            name, kind, what = re.fullmatch(
                r"/v2/(.+)/(blobs/uploads|blobs|manifests)/(.*)", push.path
            ).groups()
            if kind == "manifests":
                raw = b"".join(self._body(push))
                site.manifests[name, what] = (push.headers["Content-Type"], raw)
                return 201, {"Docker-Content-Digest": _digest(raw)}, b""
            if kind == "blobs":
                data = site.blobs.get((name, what))
                return (404, {}, b"") if data is None else (200, {"Content-Length": str(len(data))}, b"")
            return self._upload(push, fault, name, what)

        def _upload(self, push: Push, fault: Fault, name: str, upload: str):
            if push.method == "POST":
                source = push.query.get("from")
                data = site.blobs.get((source, push.query.get("mount", "")))
                if data is not None:
                    site.blobs[name, push.query["mount"]] = data
                    return 201, {}, b""
                upload = f"u{len(site.uploads)}"
                site.uploads[upload] = bytearray()
                return 202, self._place(name, upload), b""
            held = site.uploads.get(upload)
            if held is None:
                return 404, {}, b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN", "message": "gone"}]}'
            for piece in self._body(push):
                held += piece
                if fault.cut_after is not None and push.received >= fault.cut_after:
                    return None
            if push.method == "PUT":
                return self._finish(push, name, upload)
            return 204 if push.method == "GET" else 202, self._place(name, upload), b""

        def _finish(self, push: Push, name: str, upload: str):
            data = bytes(site.uploads.pop(upload))
            if _digest(data) != push.query["digest"]:
                return 400, {}, b'{"errors": [{"code": "DIGEST_INVALID", "message": "other bytes"}]}'
            site.blobs[name, push.query["digest"]] = data
            return 201, {}, b""

        def _place(self, name: str, upload: str) -> dict[str, str]:
            last = max(0, len(site.uploads[upload]) - 1)
            return {"Location": f"{site.uploads_at}/v2/{name}/blobs/uploads/{upload}", "Range": f"0-{last}"}

        def _body(self, push: Push) -> Iterator[bytes]:
            chunked = push.headers["Transfer-Encoding"] == "chunked"
            for piece in self._chunks() if chunked else self._plain(int(push.headers["Content-Length"] or 0)):
                push.received += len(piece)
                yield piece

        def _plain(self, length: int) -> Iterator[bytes]:
            while length:
                piece = self.rfile.read(min(length, _PIECE_BYTES))
                if not piece:
                    raise ConnectionError
                length -= len(piece)
                yield piece

        def _chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline() or b"0", 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def _break(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            if "Content-Length" not in headers and status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
