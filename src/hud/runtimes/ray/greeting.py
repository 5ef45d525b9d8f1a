"""How the two ends of a control connection prove to each other that they share a place's secret.

Whoever reaches a node's port gets no further without it; it never crosses this connection, which
is a plain one: what is said afterwards can be read on the way, as Ray's own traffic can.
"""

from __future__ import annotations

import hashlib
import hmac
import os

PLACE_BYTES = 16
NONCE_BYTES = 16
PROOF_BYTES = 32
SECRET_BYTES = 32
OPENING_BYTES = PLACE_BYTES + NONCE_BYTES
ANSWER_BYTES = NONCE_BYTES + PROOF_BYTES


def nonce() -> bytes:
    """Return bytes that are used once."""
    return os.urandom(NONCE_BYTES)


def node_proof(secret: bytes, opening: bytes, answer: bytes) -> bytes:
    """Return what only the node of this place can say to this opening."""
    return _proof(secret, b"node", opening, answer)


def driver_proof(secret: bytes, opening: bytes, answer: bytes) -> bytes:
    """Return what only the one who made the place can say to this answer."""
    return _proof(secret, b"driver", opening, answer)


def is_same(one: bytes, other: bytes) -> bool:
    """Compare two proofs in a time that tells nothing of them."""
    return hmac.compare_digest(one, other)


def _proof(secret: bytes, who: bytes, opening: bytes, answer: bytes) -> bytes:
    return hmac.new(secret, who + opening + answer, hashlib.sha256).digest()
