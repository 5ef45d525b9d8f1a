"""Open SDK clients, shared by every agent of an event loop that asks the same endpoint.

What a client is made of is its dialect's part. They are closed when their loop shuts down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, cast
from weakref import WeakKeyDictionary

from typing_extensions import TypeVar

from hud.models.endpoint import Endpoint

SDKClientT = TypeVar("SDKClientT", default=Any)

# The SDKs' HTTP library looks at every connection of its pool for every request, so that many
# small pools cost a fraction of a large one: half the CPU time at 1,000 requests in flight.
CONNECTIONS_PER_CLIENT = 100
_CONNECTIONS_AT_MOST = 4096

# The SDKs give a connection 5 s to open. A process that opens thousands at once needs longer to
# come round to each of them, and must not mistake that for a dead endpoint.
CONNECT_TIMEOUT_S = 30.0
REPLY_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class ClientMaker(Generic[SDKClientT]):
    """How the clients of a dialect's SDK are made and closed."""

    make: Callable[[Endpoint], SDKClientT]
    close: Callable[[SDKClientT], Awaitable[None]]


@dataclass(slots=True)
class _Shard(Generic[SDKClientT]):
    client: SDKClientT
    in_flight: int = 0


class ClientPool(Generic[SDKClientT]):
    """The clients of one endpoint on one event loop.

    Requests beyond the number of connections wait their turn, first come first served.
    """

    def __init__(self, endpoint: Endpoint, maker: ClientMaker[SDKClientT]) -> None:
        self.endpoint = endpoint
        self.places = asyncio.Semaphore(_connection_limit())
        self._maker = maker
        self._shards = [_Shard(maker.make(endpoint))]
        self.holder: AsyncGenerator[None] | None = None

    @property
    def first(self) -> SDKClientT:
        return self._shards[0].client

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[SDKClientT]:
        """Lend a client with a free connection."""
        async with self.places:
            shard = self._free_shard()
            shard.in_flight += 1
            try:
                yield shard.client
            finally:
                shard.in_flight -= 1

    def _free_shard(self) -> _Shard[SDKClientT]:
        for shard in self._shards:
            if shard.in_flight < CONNECTIONS_PER_CLIENT:
                return shard
        shard = _Shard(self._maker.make(self.endpoint))
        self._shards.append(shard)
        return shard

    async def aclose(self) -> None:
        for shard in self._shards:
            await self._maker.close(shard.client)


_Key = tuple[Endpoint, ClientMaker[Any]]
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, ClientPool[Any]]] = (
    WeakKeyDictionary()
)


def shared_pool(endpoint: Endpoint, maker: ClientMaker[SDKClientT]) -> ClientPool[SDKClientT]:
    """Return the pool of an endpoint on the running event loop, opened at the first call."""
    loop = asyncio.get_running_loop()
    pools = _pools.setdefault(loop, {})
    key = (endpoint, maker)
    pool = pools.get(key)
    if pool is None:
        pool = pools[key] = ClientPool(endpoint, maker)
        pool.holder = _until_shutdown(key, pool, pools)
        # Its first step suspends nowhere but at the yield, so it is taken without awaiting.
        step = pool.holder.asend(None)
        with suppress(StopIteration):
            cast("Any", step).send(None)
    return pool


async def _until_shutdown(
    key: _Key, pool: ClientPool[Any], pools: dict[_Key, ClientPool[Any]]
) -> AsyncGenerator[None]:
    """Close the pool when the loop shuts down: it then closes its suspended generators."""
    try:
        yield
    finally:
        pools.pop(key, None)
        await pool.aclose()


def _connection_limit() -> int:
    """Return how many connections this process may open: half of its file descriptors."""
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except (ImportError, OSError):
        return CONNECTIONS_PER_CLIENT
    return max(32, min(_CONNECTIONS_AT_MOST, soft // 2)) if soft > 0 else _CONNECTIONS_AT_MOST
