"""Environments that a platform knows, put into its store as a deploy would."""

from __future__ import annotations

import contextlib
from typing import Any

from sqlalchemy import insert

from hud._core import json
from hud._core.ids import new_id
from hud.platform.database import Database, now_us
from hud.platform.registry import tables
from tests.platform.server import Server


def know(
    server: Server,
    team: str,
    name: str,
    tasks: Any = None,
    *,
    version: int = 1,
    manifest: str | None = None,
    uri: str | None = None,
) -> str:
    """Keep an environment whose latest build offers `tasks`; return its id."""
    environment, now = new_id(), now_us()
    text = manifest or json.encode({"tasks": tasks, "capabilities": []}).decode()
    with (
        contextlib.closing(Database(server.home, server.database)) as database,
        database.writing() as connection,
    ):
        row = {"team": team, "id": environment, "name": name, "latest_version": version}
        connection.execute(
            insert(tables.environments).values(created_at=now, updated_at=now, **row)
        )
        build = {"team": team, "id": new_id(), "environment_id": environment, "version": version}
        connection.execute(
            insert(tables.builds).values(
                status="SUCCEEDED", manifest=text, uri=uri, created_at=now, ended_at=now, **build
            )
        )
    return environment


def team_of(server: Server, client: Any) -> str:
    """Return the team a client belongs to."""
    return str(client.get("/v2/auth/me").json()["team"])
