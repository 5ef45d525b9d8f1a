"""Signatures on what a model thought, which a client has to send back as it got them.

Depends on the content alone, so a conversation may go on with another server. Checking them is
each dialect's own business.
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict

_KEY = b"hud.testing.model_server"
_HALF_BYTES = 12
_HELD_AT_MOST = 65_536


def seal(content: str) -> str:
    """Return the signature of a text: URL-safe base64, without padding."""
    digest = hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=_HALF_BYTES).digest()
    return base64.urlsafe_b64encode(digest + _mac(digest)).decode()


def is_seal(token: object) -> bool:
    """Tell whether a token is a signature that some model double made."""
    if not isinstance(token, str):
        return False
    try:
        raw = base64.b64decode(_plain(token).encode("ascii"), altchars=b"-_", validate=True)
    except ValueError:
        return False
    return len(raw) == 2 * _HALF_BYTES and raw[_HALF_BYTES:] == _mac(raw[:_HALF_BYTES])


def is_seal_of(token: object, content: str) -> bool:
    """Tell whether a token is the signature of this text."""
    return isinstance(token, str) and _plain(token) == seal(content)


def _plain(token: str) -> str:
    return token.replace("+", "-").replace("/", "_")


def _mac(digest: bytes) -> bytes:
    return hashlib.blake2b(digest, key=_KEY, digest_size=_HALF_BYTES).digest()


class SealedCalls:
    """Which calls went out with a signature, by the call's id; the oldest are forgotten."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, str] = OrderedDict()

    def keep(self, call_id: str, token: str) -> None:
        self._tokens[call_id] = token
        if len(self._tokens) > _HELD_AT_MOST:
            self._tokens.popitem(last=False)

    def lacks(self, call_id: object, token: object) -> bool:
        """Tell whether a call went out with another signature than it comes back with."""
        sent = self._tokens.get(call_id) if isinstance(call_id, str) else None
        return sent is not None and (not isinstance(token, str) or _plain(token) != sent)
