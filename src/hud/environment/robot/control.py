"""The control side of a bridge: resets, results, the contract. Whoever reaches it sets the grade.

One JSON-RPC 2.0 object per line, over a socket only the environment holds, or over TCP for a
simulator somebody else runs. Methods and results over TCP are those of the published 0.6 clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from typing import TYPE_CHECKING, Any, cast

from hud._core import json
from hud._core.errors import CapabilityFault, HudError, bounded
from hud.environment.robot.slots import NoSlot

if TYPE_CHECKING:
    from hud.environment.robot.bridge import RobotBridge

LINE_LIMIT = 16 << 20
_SERVER_ERROR, _NO_METHOD = -32000, -32601


class ControlServer:
    """Answer one peer's calls, one at a time."""

    def __init__(self, bridge: RobotBridge) -> None:
        self._bridge = bridge

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the peer is gone."""
        try:
            while line := await reader.readline():
                writer.write(json.encode(await self._answer(line)) + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": None}
        try:
            call: Any = json.decode(line)
            reply["id"] = call.get("id")
            params: Any = call.get("params") or {}
            reply["result"] = await self.carry_out(str(call.get("method")), params)
        except LookupError as error:
            reply["error"] = {"code": _NO_METHOD, "message": str(error)}
        except HudError as error:
            data = {"kind": error.code, "hint": error.hint}
            reply["error"] = {"code": _SERVER_ERROR, "message": error.message, "data": data}
        except Exception as error:
            message = f"{type(error).__qualname__}: {error}"
            reply["error"] = {"code": _SERVER_ERROR, "message": bounded(message, 2_000)}
        return reply

    async def carry_out(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return a method's result.

        Raises:
            LookupError: when there is no such method.
        """
        bridge = self._bridge
        match method:
            case "reset":
                return await bridge.claim(params)
            case "result":
                return await bridge.release(params.get("token"))
            case "release":
                await bridge.release(params.get("token"))
                return {}
            case "freeze":
                await bridge.freeze()
                return {}
            case "drop_claims":
                await bridge.drop_claims()
                return {}
            case "drop_idle":
                await bridge.drop_claims(idle=True)
                return {}
            case "contract":
                return {"contract": await bridge.ensure_contract()}
            case "slots":
                return {"num_envs": bridge.num_envs}
            case "url":
                await bridge.start()
                return {"url": bridge.url}
            case "capabilities":
                await bridge.start()
                rows = await bridge.capabilities(str(params.get("name") or "robot"))
                return {"capabilities": [row.to_manifest() for row in rows]}
            case _:
                raise LookupError(f"no method {bounded(method)!r}")


async def serve_tcp(bridge: RobotBridge, host: str, port: int) -> asyncio.Server:
    """Serve a bridge's control on a TCP address; the caller closes the server."""
    return await asyncio.start_server(
        ControlServer(bridge).serve, host, port, limit=LINE_LIMIT, start_serving=True
    )


class ControlClient:
    """Calls to a control server. Whoever made it closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._ids = itertools.count(1)
        self._turn = asyncio.Lock()
        self._broken = False

    @classmethod
    async def over(cls, sock: socket.socket) -> ControlClient:
        """Use a connected socket, and take it over."""
        return cls(*await asyncio.open_connection(sock=sock, limit=LINE_LIMIT))

    @classmethod
    async def dial(cls, host: str, port: int) -> ControlClient:
        return cls(*await asyncio.open_connection(host, port, limit=LINE_LIMIT))

    @property
    def is_open(self) -> bool:
        return not (self._broken or self._writer.is_closing() or self._reader.at_eof())

    async def ready(self, word: bytes) -> bool:
        """Wait for the word a server says first; False when it ends instead."""
        try:
            return await self._reader.readline() == word
        except (OSError, ValueError):
            return False

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a call's result.

        A call that is cancelled ends the connection: its reply could be taken for another's.

        Raises:
            NoSlot: when no slot can be had, or the token is wrong.
            CapabilityFault: when the simulator raised, or is gone.
        """
        async with self._turn:
            if not self.is_open:
                raise CapabilityFault("the robot's simulator is gone")
            request = {
                "jsonrpc": "2.0",
                "id": next(self._ids),
                "method": method,
                "params": params or {},
            }
            line = json.encode(request) + b"\n"
            try:
                self._writer.write(line)
                await self._writer.drain()
                answer = await self._reader.readline()
            except (OSError, ValueError) as error:
                self.close()
                raise CapabilityFault(f"the robot's simulator is gone: {error}") from error
            except BaseException:
                self.close()
                raise
        if not answer:
            self.close()
            raise CapabilityFault(f"the robot's simulator ended during {method}")
        return _result(answer, method)

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._broken = True
        self._writer.close()

    async def aclose(self) -> None:
        """Close, and wait until it is."""
        self.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def _result(answer: bytes, method: str) -> dict[str, Any]:
    reply: Any = json.decode(answer)
    if not isinstance(reply, dict):
        raise CapabilityFault(f"the robot's simulator answered {method} with {bounded(reply)}")
    held = cast("dict[str, Any]", reply)
    error: Any = held.get("error")
    if error is None:
        result: Any = held.get("result")
        return cast("dict[str, Any]", result) if isinstance(result, dict) else {}
    row = cast("dict[str, Any]", error) if isinstance(error, dict) else {"message": str(error)}
    message = str(row.get("message"))
    data: Any = row.get("data") or {}
    kind, hint = data.get("kind"), data.get("hint")
    raise (NoSlot if kind == NoSlot.code else CapabilityFault)(message, hint=hint)
