"""Where the gateway stands in the server: before the API's own machinery, behind its guard."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from hud.platform.gateway.app import Gateway

PLACE = "/inference"


class GatewayDoor:
    """An ASGI middleware that hands everything under `/inference` to the gateway.

    Routing and the API's handling of exceptions would cost every call a tenth of a millisecond, and
    every piece of an answer a few calls more.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and str(scope["path"]).startswith(f"{PLACE}/"):
            await self._gateway({**scope, "root_path": PLACE}, receive, send)
        else:
            await self._app(scope, receive, send)
