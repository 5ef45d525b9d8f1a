"""The connection to a Ray cluster: one for this process, shared by all who use it at a time."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
from collections.abc import Awaitable
from typing import Any

from hud._core.errors import InputError, RuntimeFault, bounded
from hud._core.processes import LINUX
from hud._core.redact import redact

_HOW_TO_INSTALL = "pip install 'hud-python[ray]'"
_FOUND_BY_RAY = ("auto", "local")
_DIAL_S = 10.0
# A Ray for this process alone is no other machine's business, and this machine's own address may
# not lead back to it. Ray replaces 127.0.0.1 by that address.
_LOOPBACK = "127.0.0.2"


class _Connections:
    """Who uses the connection that this module made; the last one closes it."""

    users = 0
    lock: asyncio.Lock | None = None
    loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def turn(cls) -> asyncio.Lock:
        """Return the lock of this event loop."""
        loop = asyncio.get_running_loop()
        if cls.lock is None or cls.loop is not loop:
            cls.lock, cls.loop = asyncio.Lock(), loop
        return cls.lock


class Cluster:
    """A user of the connection. `open`, then `aclose` in every case.

    A process that is connected to Ray already keeps its connection, whatever the address.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.ray: Any = None
        self._counts = False

    async def check(self) -> None:
        """Find out whether Ray is here and something listens at the address.

        Raises:
            InputError: when Ray is not installed, or the address is none.
            RuntimeFault: when nothing listens there.
        """
        if load().is_initialized():
            return
        address = self.address or os.environ.get("RAY_ADDRESS")
        if address and address not in _FOUND_BY_RAY:
            await asyncio.to_thread(_dial, address)

    async def open(self) -> None:
        """Connect; without an address to RAY_ADDRESS, or else to a Ray started for this process.

        Raises:
            InputError: when Ray is not installed, or the address is none.
            RuntimeFault: when no cluster answers.
        """
        ray = self.ray = load()
        async with _Connections.turn():
            if _Connections.users == 0 and ray.is_initialized():
                return
            if _Connections.users == 0:
                await self.check()  # Ray itself would try for minutes, and not be interrupted
                await asyncio.to_thread(self._connect, ray)
            _Connections.users += 1
            self._counts = True

    async def aclose(self) -> None:
        """Be no user any more."""
        counts, self._counts = self._counts, False
        if not counts:
            return
        async with _Connections.turn():
            _Connections.users -= 1
            if _Connections.users == 0:
                await asyncio.to_thread(self.ray.shutdown)

    async def nodes(self) -> list[dict[str, float]]:
        """Return what each living node has, taken or not.

        Raises:
            RuntimeFault: when the cluster does not answer.
        """
        try:
            rows = await asyncio.to_thread(self.ray.nodes)
        except Exception as error:
            raise fault(error, "the Ray cluster did not say which nodes it has") from error
        return [dict(row.get("Resources", {})) for row in rows if row.get("Alive")]

    def _connect(self, ray: Any) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self.address is None and not os.environ.get("RAY_ADDRESS"):
            # Without it Ray would join whichever cluster somebody runs on this machine.
            options |= {"address": "local", "include_dashboard": False}
            if LINUX:  # elsewhere it is Ray's own choice
                options["_node_ip_address"] = _LOOPBACK
        else:
            options["address"] = self.address or os.environ["RAY_ADDRESS"]
        try:
            ray.init(**options)
        except Exception as error:
            where = bounded(self.address or os.environ.get("RAY_ADDRESS") or "this machine")
            raise fault(error, f"no Ray cluster could be reached at {where}") from error


def _why(error: OSError | OverflowError | UnicodeError) -> str:
    """Return what kept a connection from being made, without the error's number."""
    return str(getattr(error, "strerror", None) or error)


def _dial(address: str) -> None:
    """See whether something listens at `host:port` or `ray://host:port`."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdigit():
        raise InputError(
            f"{bounded(address)!r} is no address of a Ray cluster",
            hint="host:port, ray://host:port or auto",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_DIAL_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise RuntimeFault(
            f"no Ray cluster answers at {bounded(address)}: {_why(error)}",
            hint="start one with: ray start --head; or leave the address out",
        ) from error


def load() -> Any:
    """Import Ray, whose reports of usage are off unless RAY_USAGE_STATS_ENABLED says otherwise.

    Raises:
        InputError: when it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise InputError("RayRuntime needs Ray", hint=_HOW_TO_INSTALL) from error


async def answer(call: Awaitable[Any], what: str) -> Any:
    """Wait for the answer of an actor.

    Raises:
        RuntimeFault: when Ray gives another one: the actor or its node is gone.
    """
    try:
        return await call
    except Exception as error:
        raise fault(error, what) from error


def fault(error: BaseException, what: str) -> RuntimeFault:
    """Return what Ray says as a fault, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    missing = next((line for line in reversed(lines) if "No module named" in line), None)
    if missing is not None:
        return RuntimeFault(
            f"{what}: {redact(bounded(missing, 300))}",
            hint="install the same hud with what it needs on every node of the cluster, "
            "or give runtime_env={'pip': […]}",
        )
    text = redact(bounded(lines[0] if lines else repr(error), 500))
    return RuntimeFault(f"{what}: {type(error).__name__}: {text}")
