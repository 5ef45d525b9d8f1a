"""The one way out of a sandbox: a proxy that looks names up itself and connects where it checked.

It speaks HTTP and SOCKS 5 on the same port. The listening socket may lie in another network
namespace; connections out are made from this process's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

from hud.sandbox import egress_http, egress_socks
from hud.sandbox.egress_forward import Forward
from hud.sandbox.egress_policy import (
    Address,
    EgressPolicy,
    Host,
    Refused,
    parse_address,
    shown,
)
from hud.sandbox.egress_streams import EgressLimits, Stream

__all__ = ["EgressEvent", "EgressLimits", "EgressPolicy", "EgressProxy", "Forward", "Refused"]

logger = logging.getLogger(__name__)

Via = Literal["http", "connect", "socks5"]
Resolver = Callable[[str, int], Awaitable[Iterable[str]]]

_LOOKUPS_AT_ONCE = 4
_TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 42\r\n"
    b"Connection: close\r\n\r\nToo many connections leave this sandbox.\r\n"
)


@dataclass(frozen=True, slots=True)
class EgressEvent:
    """One attempt to leave the sandbox, for its trace: where to, never what was said.

    Attributes:
        verdict: "refused" by policy, "failed" to connect, or "allowed".
        reason: The sentence the sandbox was told, when it was not allowed.
    """

    verdict: Literal["allowed", "refused", "failed"]
    via: Via
    host: str
    port: int
    reason: str | None = None


class EgressProxy:
    """A proxy for one sandbox. Who makes it calls `aclose`.

    Args:
        policy: What may be reached.
        on_event: Called in the event loop for each attempt; must not block.
        resolve: Looks a name up; the machine's own way when None.

    Attributes:
        counts: Attempts so far, by verdict.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        limits: EgressLimits | None = None,
        on_event: Callable[[EgressEvent], None] | None = None,
        resolve: Resolver | None = None,
    ) -> None:
        self.policy = policy
        self.counts = {"allowed": 0, "refused": 0, "failed": 0}
        self._limits = limits or EgressLimits()
        self._on_event = on_event
        self._resolve = resolve or self._look_up
        self._lookups: ThreadPoolExecutor | None = None
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, sock: socket.socket) -> None:
        """Begin to accept on a listening socket, which is the proxy's from here on."""
        server = await asyncio.start_server(
            self._accept, sock=sock, limit=max(self._limits.header_bytes, 1 << 16)
        )
        self._servers.append(server)

    async def aclose(self) -> None:
        """Stop listening and end every connection; closing twice is no error."""
        for server in self._servers:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._lookups is not None:
            # A lookup cannot be broken off; nobody waits for it any more.
            self._lookups.shutdown(wait=False, cancel_futures=True)

    def env(self, port: int) -> dict[str, str]:
        """Return the variables by which programs in the sandbox find the proxy on its loopback."""
        proxy = f"http://127.0.0.1:{port}"
        values = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "ALL_PROXY": proxy}
        values["NO_PROXY"] = "localhost,127.0.0.1,::1"
        return values | {name.lower(): value for name, value in values.items()}

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= self._limits.connections:
            writer.write(_TURNED_AWAY)
            writer.close()
            return
        client = Stream(reader, writer, self._limits.idle_s)
        task = asyncio.get_running_loop().create_task(self._talk(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, client: Stream) -> None:
        """Serve one connection; its first byte says which protocol it speaks."""
        try:
            first = await client.exactly(1)
            if first[0] == egress_socks.VERSION:
                await egress_socks.serve(client, partial(self._open, via="socks5"))
            else:
                await egress_http.serve(client, first, self._open, self._limits.header_bytes)
        except (OSError, TimeoutError, EOFError) as error:
            logger.debug("a sandbox's connection ended: %s", error or type(error).__name__)
        finally:
            await client.close()

    async def _open(self, host: Host, port: int, via: Via) -> Stream:
        """Connect to a host if policy has it, at an address that was checked, and note it.

        Raises:
            Refused: when it has not.
            OSError, TimeoutError: when it cannot be reached.
        """
        note = partial(EgressEvent, via=via, host=str(host), port=port)
        try:
            stream = await self._connect(host, port)
        except Refused as error:
            self._note(note("refused", reason=str(error)))
            raise
        except (OSError, TimeoutError) as error:
            reason = f"{shown(host, port)} cannot be reached: {error or 'no answer in time'}"
            self._note(note("failed", reason=reason))
            raise
        self._note(note("allowed"))
        return stream

    async def _connect(self, host: Host, port: int) -> Stream:
        self.policy.admit(host, port)
        addresses = [host] if not isinstance(host, str) else await self._addresses(host, port)
        chosen = self.policy.select(host, port, addresses)[: self._limits.addresses]
        failure: OSError | None = None
        for address in chosen:
            try:
                async with asyncio.timeout(self._limits.connect_s):
                    reader, writer = await asyncio.open_connection(
                        str(address), port, limit=max(self._limits.header_bytes, 1 << 16)
                    )
            except OSError as error:
                failure = error
                continue
            return Stream(reader, writer, self._limits.idle_s)
        raise failure or OSError("no address")

    async def _addresses(self, name: str, port: int) -> list[Address]:
        async with asyncio.timeout(self._limits.connect_s):
            texts = await self._resolve(name, port)
        found: dict[Address, None] = {}
        for text in texts:
            with contextlib.suppress(ValueError):
                found[parse_address(text)] = None
        return list(found)

    async def _look_up(self, name: str, port: int) -> list[str]:
        """Ask this machine's resolver, in threads that only lookups of sandboxes can fill."""
        if self._lookups is None:
            self._lookups = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, "hud-egress")
        ask = partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
        loop = asyncio.get_running_loop()
        return [str(row[4][0]) for row in await loop.run_in_executor(self._lookups, ask)]

    def _note(self, event: EgressEvent) -> None:
        self.counts[event.verdict] += 1
        if event.verdict == "refused":
            logger.info("egress refused: %s", event.reason)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            logger.exception("the callback for egress events failed")
