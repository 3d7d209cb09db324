"""``--gpus``: a request for devices of a driver, in Docker's form.

request = ( "all" | number | key "=" value ) { "," … } ;    (CSV: a value with a comma stands in quotes)
key     = "driver" | "count" | "device" | "capabilities" | "options" ;

Source: docker/cli ``opts/gpus.go``.
"""

from __future__ import annotations

import csv
from typing import Any

__all__ = ["device_request"]

_EVERY = -1
_KEYS = ("driver", "count", "device", "capabilities", "options")


def device_request(text: str) -> dict[str, Any]:
    """HostConfig's DeviceRequest. Raises ValueError with Docker's words."""
    given: dict[str, str] = {}
    for field in next(csv.reader([text]), []):
        key, equals, value = field.partition("=")
        if key in given:
            raise ValueError(f"gpu request key '{key}' can be specified only once")
        if equals and key not in _KEYS:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
        given[key] = value
        if not equals:
            given["count"] = key
    return _request(given)


def _request(given: dict[str, str]) -> dict[str, Any]:
    devices = given["device"].split(",") if "device" in given else None
    count = _count(given["count"]) if "count" in given else 0 if devices else 1
    options = next(csv.reader([given.get("options", "")]), [])
    capabilities = given["capabilities"].split(",") if "capabilities" in given else []
    return {
        "Driver": given.get("driver", ""),
        "Count": count,
        "DeviceIDs": devices,
        "Capabilities": [[*capabilities, "gpu"]],
        "Options": dict(option.partition("=")[::2] for option in options),
    }


def _count(text: str) -> int:
    if text == "all":
        return _EVERY
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f'invalid count ({text}): value must be either "all" or an integer: invalid syntax'
        ) from None
