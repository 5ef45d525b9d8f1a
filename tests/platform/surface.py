"""Every place a server answers at, and one team with something at each of them to look for."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import FastAPI
from starlette.routing import WebSocketRoute

from hud._core.ids import new_id
from hud.platform.accounts import keys, teams
from hud.platform.accounts.keys import SCOPES, Scope
from hud.platform.accounts.teams import Role
from hud.platform.app import create_app
from hud.platform.assets import PAGES
from hud.platform.builds.lines import append_lines
from hud.platform.builds.variables import change_variables
from hud.platform.config import PlatformConfig
from hud.platform.database import Database, now_us
from hud.platform.secrets import SecretBox
from hud.platform.services import Services
from hud.store import BlobRow, open_store
from hud.store.schema import metadata
from tests.platform.registry.known import know
from tests.platform.server import Server
from tests.platform.spans import span, step, upload_path

MARK = "zebra-that-nobody-else-may-see"
"""Is in everything the team keeps; a reply to anybody else that holds it has told them."""

MOUNTED = {
    "/inference": (
        ("GET", "/models"),
        ("GET", "/v1/models"),
        ("POST", "/chat/completions"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/responses"),
        ("POST", "/v1/messages"),
        ("POST", "/v1beta/models/m:generateContent"),
        ("POST", "/v1beta/models/m:streamGenerateContent"),
    )
}
"""What a mounted app answers at, which its routes do not tell."""

PROVIDER: dict[str, Any] = {
    "dialect": "openai",
    "base_url": "http://127.0.0.1:9/v1",
    "api_key": f"sk-{MARK}",
    "models": [{"name": "their-model", "upstream_name": MARK}],
}
"""A provider where nobody listens."""

SOCKET = "WS"
"""The method of a place that a WebSocket is opened at."""

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


@dataclass(frozen=True, slots=True)
class Place:
    """A method and a path with its parameters in braces."""

    method: str
    path: str
    is_mounted: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_page(self) -> bool:
        """Whether it is a page of the web UI, the same for everybody, or a file that it loads."""
        return self.path in PAGES or self.path == "/assets/{name}"

    @property
    def parameters(self) -> list[str]:
        """The names of what is in braces."""
        return _PARAMETER.findall(self.path)

    def filled(self, values: dict[str, str]) -> str:
        """Return the path with its parameters replaced, each percent-encoded as a whole."""
        return _PARAMETER.sub(lambda found: quote(values[found[1]], safe=""), self.path)


def places(home: Path) -> list[Place]:
    """Return every place of the app, from its routes."""
    services = Services.open(PlatformConfig(home=home))
    try:
        return sorted(set(_places_of(create_app(services))), key=str)
    finally:
        services.close()


def _places_of(app: FastAPI) -> Iterator[Place]:
    yield from _walk(app.routes)


def _walk(routes: Iterable[Any]) -> Iterator[Place]:
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from _walk(included.routes)
        elif isinstance(route, WebSocketRoute):
            yield Place(SOCKET, route.path)
        elif getattr(route, "methods", None):
            for method in route.methods - {"HEAD"}:
                yield Place(method, route.path)
        elif route.path in MOUNTED:
            for method, path in MOUNTED[route.path]:
                yield Place(method, route.path + path, is_mounted=True)
        else:
            raise AssertionError(f"{route.path} is a kind of route that no test covers yet")


@dataclass(frozen=True, slots=True)
class Owned:
    """What one team has.

    Attributes:
        values: A value of theirs for each parameter of a path.
        query: What some places need besides.
        special: Values for the places where a name means something else.
        key: A key of theirs that may do everything.
    """

    team: str
    key: str
    values: dict[str, str]
    query: dict[str, dict[str, Any]]
    special: dict[str, dict[str, str]]

    def at(self, place: Place) -> dict[str, str]:
        """Return the value of each parameter of a place."""
        values = self.values | self.special.get(place.path, {})
        unknown = [name for name in place.parameters if name not in values]
        assert not unknown, f"{place}: give Owned a value for {unknown}, so that it is tried"
        return {name: values[name] for name in place.parameters}

    def path(self, place: Place) -> str:
        """Return the path of a place with what is theirs."""
        return place.filled(self.at(place))


def own_everything(server: Server, team: str) -> Owned:
    """Make a team that has something at every place."""
    key = server.key(MARK, team=team)
    environment = know(server, team, MARK, [{"id": "add", "description": MARK}])
    run, job, second = new_id(), new_id(), new_id()
    _have_used(server, team, job)
    lease = _have_lent(server, team)
    build = _have_built(server, team, environment)
    blob = f"{MARK} {team}".encode()
    with contextlib.closing(open_store(server.home, database=server.database)) as store:
        store.put(BlobRow(content=blob, media_type="text/plain", team=team))
        store.flush()
    with server.client(key) as client:
        project = _made(client, "/v2/projects", name="theirs", description=MARK)["id"]
        member = _made(client, "/v2/members", name=f"{MARK} of {team}")["user_id"]
        made_key = _made(client, "/v2/keys", name=MARK)["key"]["id"]
        budget = {"scope": "key", "subject": made_key, "max_tokens": 1_000_000}
        assert client.put("/v2/budgets", json=budget).status_code == 200
        assert client.put("/v2/providers/their-provider", json=PROVIDER).status_code == 200
        task = {"name": MARK, "env": "other", "task_id": "t", "args": {"text": MARK}}
        upload = {"taskset_name": "theirs", "project_id": project, "tasks": [task]}
        taskset = _made(client, "/v2/tasks/upload", **upload)["taskset_id"]
        _made(client, f"/v2/trace/job/{job}/enter", name=MARK, taskset_id=taskset)
        _made(client, f"/v2/trace/job/{second}/enter", name=MARK)
        _made(client, f"/v2/trace/{run}/enter", job_id=job, task_slug=MARK, model=MARK)
        spans = [step(run, 1, {"content": MARK}), span(run, "debug", **{"code.function": MARK})]
        _made(client, upload_path(run), telemetry=spans)
        grade = {"score": 1.0, "content": MARK}
        _made(
            client,
            f"/v2/trace/{run}/exit",
            status="completed",
            reward=1.0,
            evaluation_result=grade,
        )
        _made(client, f"/v2/tasksets/{taskset}/publications", job_id=job, title=MARK)
    slug = {"slug": MARK}
    return Owned(
        team,
        key,
        values={
            "job_id": job,
            "trace_id": run,
            "taskset_id": taskset,
            "taskset": taskset,
            "name": "theirs",
            "project_id": project,
            "environment_id": environment,
            "user_id": member,
            "key_id": made_key,
            "sha256": hashlib.sha256(blob).hexdigest(),
            "agent_id": new_id(),
            "path": "v1/models",
            "model_id": "their-model",
            "scope": "key",
            "subject": made_key,
            "lease_id": lease,
            "build_id": build,
        },
        query={
            "/v2/tasksets/{taskset_id}/task": slug,
            "/v2/tasksets/{taskset_id}/task/versions": slug,
            "/v2/tasksets/{taskset_id}/tasks": slug,
            "/v2/tasksets/{taskset:path}/publications": {"job_id": job},
            "/v2/compare": {"job": [job, second]},
            "/v2/models/resolve": {"model": "their-model"},
            "/v2/trace/{trace_id}/search": {"q": "zebra"},
        },
        special={
            "/v2/providers/{name}": {"name": "their-provider"},
            "/v2/providers/{name}/test": {"name": "their-provider"},
        },
    )


def _have_used(server: Server, team: str, job_id: str) -> None:
    """Keep a call of a model."""
    with (
        contextlib.closing(Database(server.home, server.database)) as database,
        database.writing() as connection,
    ):
        connection.execute(
            metadata.tables["usage"]
            .insert()
            .values(
                team=team,
                id=new_id(),
                at=now_us(),
                job_id=job_id,
                provider="their-provider",
                model=MARK,
                dialect="openai",
                status=200,
                is_cached=0,
            )
        )


def _have_lent(server: Server, team: str) -> str:
    """Keep a lease that a server holds which is not this one; return its id."""
    lease, later = new_id(), now_us() + 3600 * 1_000_000
    with (
        contextlib.closing(Database(server.home, server.database)) as database,
        database.writing() as connection,
    ):
        connection.execute(
            metadata.tables["leases"]
            .insert()
            .values(
                team=team,
                id=lease,
                environment=MARK,
                build_id=new_id(),
                user_id=new_id(),
                server=new_id(),
                state="ready",
                created_at=later,
                heard_at=later,
            )
        )
    return lease


def _have_built(server: Server, team: str, environment: str) -> str:
    """Keep a build that failed, with a log, and a variable; return its id."""
    build = new_id()
    with (
        contextlib.closing(Database(server.home, server.database)) as database,
        database.writing() as connection,
    ):
        box = SecretBox(server.home)
        change_variables(connection, box, team, environment, given={MARK.replace("-", "_"): MARK})
        connection.execute(
            metadata.tables["builds"]
            .insert()
            .values(
                team=team,
                id=build,
                environment_id=environment,
                status="FAILED",
                error=MARK,
                actor=MARK,
                created_at=now_us(),
                ended_at=now_us(),
            )
        )
        append_lines(connection, team, build, [(now_us(), MARK)])
    return build


def make_key(
    server: Server,
    team: str,
    *,
    scopes: tuple[Scope, ...] = SCOPES,
    role: Role = "owner",
    expires_in_s: float | None = None,
    is_revoked: bool = False,
) -> str:
    """Return a key of a member of the team with this role."""
    with contextlib.closing(Database(server.home, server.database)) as database:
        expires_at = None if expires_in_s is None else now_us() + int(expires_in_s * 1e6)
        with database.writing() as connection:
            user_id = teams.add_user(connection, f"someone {new_id()}")
            teams.set_role(connection, team, user_id, role)
            key, secret = keys.create_key(
                connection,
                team=team,
                user_id=user_id,
                name="theirs",
                scopes=scopes,
                expires_at=expires_at,
            )
            if is_revoked:
                keys.revoke_key(connection, team, key.id)
    return secret


def _made(client: httpx.Client, path: str, **body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code in (200, 201), f"{path}: {reply.text}"
    return reply.json()
