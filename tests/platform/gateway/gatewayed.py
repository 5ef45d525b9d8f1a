"""A platform on a port of this machine with providers behind it, and who may call it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from hud.platform.accounts import keys, teams
from hud.platform.app import create_app
from hud.platform.config import PlatformConfig
from hud.platform.gateway.app import Gateway
from hud.platform.gateway.budgets import BudgetScope, put_budget
from hud.platform.gateway.providers import model_wanted, put_provider
from hud.platform.gateway.tables import usage
from hud.platform.gateway.usage_log import UsageRow
from hud.platform.services import Services
from hud.store import LOCAL_TEAM

PROVIDER_KEY = "the-provider-key-that-stays-on-the-platform-0123456789"


@dataclass
class Gatewayed:
    """A running platform.

    Attributes:
        key: Of the local team's owner, who may call models.
    """

    services: Services
    gateway: Gateway
    origin: str
    key: str
    key_id: str
    _noted: asyncio.Queue[UsageRow]

    @property
    def url(self) -> str:
        """The gateway's address, as clients are given it."""
        return f"{self.origin}/inference"

    def add(
        self,
        name: str,
        dialect: str,
        base_url: str,
        models: Sequence[str] = (),
        *,
        key: str | None = PROVIDER_KEY,
        team: str = LOCAL_TEAM,
    ) -> None:
        """Add a provider, as the command does."""
        with self.services.database.writing() as connection:
            put_provider(
                connection,
                self.services.secrets,
                team,
                name=name,
                dialect=dialect,
                base_url=base_url,
                key=key,
                wanted=[model_wanted(text) for text in models],
            )
        self.gateway.directory.forget(team)

    def budget(self, scope: BudgetScope, subject: str = "", **limits: Any) -> None:
        """Set a budget of the local team."""
        both: dict[str, Any] = {"max_cost_usd": None, "max_tokens": None, **limits}
        with self.services.database.writing() as connection:
            put_budget(connection, LOCAL_TEAM, scope, subject, **both)
        self.gateway.calls.budgets.forget(LOCAL_TEAM)

    def make_key(self, team: str = LOCAL_TEAM, **more: Any) -> str:
        """Return a new key, of a new team where that is named."""
        with self.services.database.writing() as connection:
            if teams.make_team(connection, team):
                teams.set_role(connection, team, self.services.owner_id, "owner")
            owner = self.services.owner_id
            _, secret = keys.create_key(connection, team=team, user_id=owner, name="k", **more)
        return secret

    async def rows(self, team: str = LOCAL_TEAM) -> list[dict[str, Any]]:
        """Return what was metered, oldest first."""
        await self.gateway.usage.flush()

        def read() -> list[dict[str, Any]]:
            query = usage.select().where(usage.c.team == team).order_by(usage.c.at)
            with self.services.database.reading() as connection:
                return [dict(row) for row in connection.execute(query).mappings()]

        return await asyncio.to_thread(read)

    async def next_row(self) -> dict[str, Any]:
        """Wait until another call has ended and return the newest row."""
        async with asyncio.timeout(60):
            await self._noted.get()
        return (await self.rows())[-1]

    def http(self, **headers: str) -> httpx.AsyncClient:
        """Return a bare client that shows the key."""
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"authorization": f"Bearer {self.key}", **headers},
            trust_env=False,
            timeout=60,
        )


class _Server(uvicorn.Server):
    """A server that leaves this process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextlib.asynccontextmanager
async def gatewayed(home: Path, **more: Any) -> AsyncGenerator[Gatewayed]:
    """Run a platform in this process until the block ends."""
    home.mkdir(parents=True, exist_ok=True)
    services = Services.open(PlatformConfig(home=home, port=0, **more))
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(services)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on")
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        with services.database.writing() as connection:
            key, secret = keys.create_key(
                connection, team=LOCAL_TEAM, user_id=services.owner_id, name="tests"
            )
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{origin}/healthz")
        noted: asyncio.Queue[UsageRow] = asyncio.Queue()
        gateway: Gateway = app.state.gateway
        add = gateway.usage.add

        def note(row: UsageRow) -> None:
            add(row)
            noted.put_nowait(row)

        gateway.usage.add = note
        yield Gatewayed(services, gateway, origin, secret, key.id, noted)
    finally:
        server.should_exit = True
        await serving
        listener.close()
        services.close()
