"""A model call that is passed on as it came: the request sent, and the error that answers it.

Both the gateway of the platform and the proxy of a run pass calls on. Connections are theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from hud._core import json
from hud.models.endpoint import NO_KEY
from hud.models.failure import CallFailure, excerpt, retry_after

ERROR_BYTES = 1 << 20
"""So much of an error is passed on."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request to a provider."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class RefusedByApi(Exception):
    """The API answered with an error, held whole so that it can be passed on.

    Attributes:
        headers: Of the answer; names in lower case, or found in any case.
        body: Without the key, should the API have repeated it.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def failure(self) -> CallFailure:
        """What it means."""
        try:
            read: Any = json.decode(self.body)
        except ValueError:
            read = self.body
        seconds = retry_after(self.headers)
        return CallFailure("status", excerpt(read), self.status, _code(read), seconds)


def without_key(data: bytes, key: str) -> bytes:
    """Return bytes of an answer without the provider's key, should they hold it."""
    if not key or key == NO_KEY:
        return data
    spelled = key.encode()
    return data.replace(spelled, b"[redacted]") if spelled in data else data


def _code(body: Any) -> str | None:
    held = cast("dict[str, Any]", body).get("error") if isinstance(body, dict) else None
    if not isinstance(held, dict):
        return None
    error = cast("dict[str, Any]", held)
    code = error.get("code") or error.get("type")
    return code if isinstance(code, str) else None
