"""The driver ``gcplogs``: Google Cloud Logging, by google-cloud-logging (the extra ``gcplogs``).

entry = { instance: { zone, name, id }, container: { name, id, imageName, imageId, created, command,
          metadata }, message }

Source: moby ``daemon/logger/gcplogs``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from onggi.runtime.collectors.collector import About, CollectorError, complain, text_of
from onggi.runtime.supervisor.messages import Message

TYPE_CHECKING = False  # a collector runs beside every container that asks for one: it is to be small
if TYPE_CHECKING:
    from typing import Any

__all__ = ["GcpLogs", "check_options"]

_LOG = "gcplogs-docker-driver"
_PERIOD_S, _BATCH = 1.0, 1000


def check_options(options: Mapping[str, str]) -> None:
    """dockerd looks at names only."""


class GcpLogs:
    """One log of one project; ``client`` is the SDK's, made when it is not given."""

    def __init__(self, about: About, options: Mapping[str, str], client: Any = None) -> None:
        self._options = options
        self._client = client
        self._container = _container(about, options)
        self._instance = {
            field: options[name]
            for field, name in (("zone", "gcp-meta-zone"), ("name", "gcp-meta-name"), ("id", "gcp-meta-id"))
            if options.get(name)
        }
        self._log: Any = None
        self._batch: Any = None
        self._count = 0
        self._due = 0.0

    def open(self) -> None:
        try:
            from google.auth.exceptions import GoogleAuthError
            from google.cloud import logging
            from google.cloud.logging_v2.resource import Resource
        except ImportError as error:
            raise CollectorError(
                "gcplogs needs Google's SDK, which is not installed: pip install 'onggi[gcplogs]'"
            ) from error
        try:
            # Over HTTP: a collector is a small process, and gRPC would bring threads of its own.
            self._client = self._client or logging.Client(
                project=self._options.get("gcp-project"), _use_grpc=False
            )
        except (GoogleAuthError, OSError) as error:
            raise CollectorError(
                f"unable to connect or authenticate with Google Cloud Logging: {error}"
            ) from error
        resource = None
        if self._instance:
            labels = {"instance_id": self._instance.get("id", ""), "zone": self._instance.get("zone", "")}
            resource = Resource(type="gce_instance", labels=labels)
        self._log = self._client.logger(_LOG, **({"resource": resource} if resource else {}))
        self._batch = self._log.batch()

    def send(self, message: Message) -> None:
        from datetime import UTC, datetime

        payload: dict[str, Any] = {"container": self._container, "message": text_of(message.line)}
        if self._instance:
            payload["instance"] = self._instance
        seconds, fraction = divmod(message.time_ns, 10**9)
        moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=fraction // 1000)
        self._batch.log_struct(payload, timestamp=moment)
        if not self._count:
            self._due = time.monotonic() + _PERIOD_S
        self._count += 1
        if self._count >= _BATCH:
            self._commit()

    def wait_s(self) -> float | None:
        return max(0.0, self._due - time.monotonic()) if self._count else None

    def tick(self) -> None:
        if time.monotonic() >= self._due:
            self._commit()

    def _commit(self) -> None:
        """What cannot be sent is told, and lost."""
        if not self._count:
            return
        batch, self._batch, self._count = self._batch, self._log.batch(), 0
        try:
            batch.commit()
        except Exception as error:  # the SDK has errors of several families
            complain(f"gcplogs: {error}")

    def close(self) -> None:
        self._commit()


def _container(about: About, options: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": f"/{about.name}",
        "id": about.id,
        "imageName": about.image_name,
        "imageId": about.image_id,
        "created": about.created,
        "command": about.command if options.get("gcp-log-cmd") == "true" else "",
        "metadata": about.attributes,
    }
    return {name: value for name, value in fields.items() if value}
