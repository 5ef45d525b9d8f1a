"""The driver's way to one place on a node: through the node's port, proving who it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from hud._core.relay import Relay
from hud.runtimes.ray import greeting
from hud.runtimes.ray.gate import Greeter


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach a place: its node's port, its name there and the secret that opens it."""

    host: str
    port: int
    place: bytes
    secret: bytes


@contextlib.asynccontextmanager
async def way_to(way: Way) -> AsyncGenerator[Relay]:
    """Open a connection to the place.

    Raises:
        OSError: when nothing answers there, or it is not the place's node.
    """
    far = Greeter()
    try:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: far, way.host, way.port)
        opening = way.place + greeting.nonce()
        far.send(opening)
        said = await far.take(greeting.ANSWER_BYTES)
        answer, proof = said[: greeting.NONCE_BYTES], said[greeting.NONCE_BYTES :]
        if not greeting.is_same(proof, greeting.node_proof(way.secret, opening, answer)):
            raise ConnectionAbortedError("what answers there is not the place's node")
        far.send(greeting.driver_proof(way.secret, opening, answer))
        yield far
    finally:
        far.close()
