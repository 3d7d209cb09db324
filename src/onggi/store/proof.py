"""Docker's proof that the same credentials saw a blob in a repository before (docker-engine §4.7)."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256

from onggi.oci.digest import Digest

__all__ = ["identity_key", "proof"]


def identity_key(username: str, password: str, identity_token: str, registry_token: str) -> str:
    """Docker's name for who we are to a registry: a digest of the credentials' JSON (§4.7)."""
    shown = {
        "username": username,
        "password": password,
        "identitytoken": identity_token,
        "registrytoken": registry_token,
    }
    text = json.dumps(
        {key: value for key, value in shown.items() if value}, separators=(",", ":"), ensure_ascii=False
    )
    for character in "<>&\u2028\u2029":  # as Go's encoder writes them
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def proof(key: str, digest: Digest, repository: str) -> str:
    """The HMAC of a source: whoever ``key`` names has seen this blob there."""
    return hmac.new(key.encode(), f"{digest}{repository}".encode(), sha256).hexdigest()
