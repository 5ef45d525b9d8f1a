"""Where the gateway stands in the server: beside the API, behind the same guard.

Nothing of the API's own machinery is in its way: routing and the handling of exceptions would cost
every call a fifth of a millisecond, and every piece of an answer some calls more.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from hud.platform.gateway.app import Gateway

PLACE = "/inference"


class GatewayDoor:
    """The gateway under its place."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gateway({**scope, "root_path": PLACE}, receive, send)


class ServerApp(FastAPI):
    """The API, and beside it what everything under `/inference` goes to.

    Attributes:
        door: Takes those requests; None leaves them to the API.
    """

    door: ASGIApp | None

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.door = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        door = self.door
        if door is not None and scope["type"] == "http" and scope["path"].startswith(f"{PLACE}/"):
            await door(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
