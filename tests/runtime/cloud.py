"""Collectors for Amazon's and Google's services, by their real SDKs, against endpoints that write down
what they get. Executed by an interpreter that has the SDKs: ``python cloud.py``; prints what was seen.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from onggi.runtime.collectors.awslogs import AwsLogs
from onggi.runtime.collectors.collector import About, CollectorError
from onggi.runtime.collectors.gcplogs import GcpLogs
from onggi.runtime.supervisor.messages import Message

MOMENT = 1_700_000_000_123_456_789
ABOUT = {
    "id": "ab" * 32,
    "name": "web",
    "image_id": "sha256:c",
    "image_name": "box",
    "command": "sh -c x",
    "created": "2026-01-01T00:00:00Z",
    "tag": "tag",
    "attributes": {"team": "a"},
}


class Endpoint:
    """Answers CloudWatch's JSON 1.1 protocol and Cloud Logging's REST; knows which groups there are."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, object]] = []
        self.groups: set[str] = set()
        self.streams: set[str] = set()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    data = zlib.decompress(data, 47)
                body = json.loads(data)
                target = (self.headers.get("X-Amz-Target") or self.path).rpartition(".")[2]
                if self.headers.get("X-Amz-Target"):
                    assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=KEY/")
                status, answer = endpoint.answer(target, body)
                said = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *words: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, target: str, body: dict) -> tuple[int, dict]:
        self.seen.append((target, body))
        if target == "CreateLogStream":
            if body["logGroupName"] not in self.groups:
                return 400, {"__type": "ResourceNotFoundException", "message": "no such group"}
            if body["logStreamName"] in self.streams:
                return 400, {"__type": "ResourceAlreadyExistsException", "message": "there"}
            self.streams.add(body["logStreamName"])
        if target == "CreateLogGroup":
            self.groups.add(body["logGroupName"])
        return 200, {}


def out(line: bytes, later_ms: int = 0) -> Message:
    return Message("stdout", line, MOMENT + later_ms * 10**6)


def amazon(endpoint: Endpoint) -> None:
    options = {"awslogs-group": "g", "awslogs-region": "r", "awslogs-endpoint": endpoint.url}
    try:
        AwsLogs(About(ABOUT), options).open()
        raise AssertionError("a group that is not there")
    except CollectorError as error:
        assert "failed to create Cloudwatch log stream" in str(error), error
    for _ in range(2):
        collector = AwsLogs(About(ABOUT), {**options, "awslogs-create-group": "true"})
        collector.open()
    endpoint.seen.clear()
    collector.send(out(b"second", 5))
    collector.send(out(b"first"))
    collector.send(out(b""))
    collector.send(out("é".encode() * 200_000, 6))
    collector.close()
    lines = AwsLogs(About(ABOUT), {**options, "awslogs-datetime-format": "[%Y-%m-%d %H:%M:%S]"})
    lines.open()
    for number, line in enumerate((b"[2026-01-01 10:00:00] one", b"  more", b"[2026-01-01 10:00:01] two")):
        lines.send(out(line, number))
    lines.close()
    batches = [body["logEvents"] for target, body in endpoint.seen if target == "PutLogEvents"]
    first, second = batches
    assert [event["message"][:6] for event in first] == ["first", "second", "éééééé", "éééééé"]
    assert sum(len(event["message"]) for event in first[2:]) == 200_000
    assert [event["message"] for event in second] == [
        "[2026-01-01 10:00:00] one\n  more\n",
        "[2026-01-01 10:00:01] two\n",
    ]
    assert first[0]["timestamp"] == MOMENT // 10**6
    many = AwsLogs(About(ABOUT), {**options, "awslogs-stream": "many"})
    many.open()
    endpoint.seen.clear()
    for number in range(10_001):
        many.send(out(b"%d" % number))
    many.close()
    assert [len(body["logEvents"]) for target, body in endpoint.seen if target == "PutLogEvents"] == [
        10_000,
        1,
    ]


def google(endpoint: Endpoint) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import logging

    client = logging.Client(
        project="p",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": endpoint.url},
        _use_grpc=False,
    )
    options = {"gcp-project": "p", "gcp-log-cmd": "true", "gcp-meta-zone": "z", "gcp-meta-id": "i"}
    collector = GcpLogs(About(ABOUT), options, client)
    collector.open()
    endpoint.seen.clear()
    collector.send(out(b"hello"))
    collector.send(out(b"again"))
    collector.close()
    ((_, body),) = endpoint.seen
    entries = body["entries"]
    assert [entry["jsonPayload"]["message"] for entry in entries] == ["hello", "again"]
    assert entries[0]["jsonPayload"]["container"] == {
        "name": "/web",
        "id": "ab" * 32,
        "imageName": "box",
        "imageId": "sha256:c",
        "created": "2026-01-01T00:00:00Z",
        "command": "sh -c x",
        "metadata": {"team": "a"},
    }
    assert entries[0]["jsonPayload"]["instance"] == {"zone": "z", "id": "i"}
    assert "gcplogs-docker-driver" in json.dumps(body)
    assert entries[0]["timestamp"].startswith("2023-11-14T22:13:20.123456")


if __name__ == "__main__":
    os.environ |= {"AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "SECRET"}
    amazon(Endpoint())
    google(Endpoint())
