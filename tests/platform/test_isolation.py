"""Nothing of one team is reachable for anybody else, at any place the server answers at.

The places come from the app itself, so a new one is tried here too; it fails until this module
knows its parameters, and until it is either refused as all others are or listed as an exception.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, cast

import httpx
import pytest

from tests.faults.table import Record
from tests.platform.server import Server
from tests.platform.surface import MARK, SOCKET, Owned, Place, make_key, own_everything, places

DATABASES = ("sqlite", "postgres")

OPEN = frozenset(
    (
        "GET /healthz",
        "GET /openapi.json",
        "GET /sign-in",
        "POST /sign-out",
        "GET /device",
        "POST /device",
        "POST /auth/device/code",
        "POST /auth/device/token",
        "POST /telemetry/v3/api/sdk-events/cli",
        # Its address is the key, and good for one upload.
        "PUT /v2/builds/{build_id}/context",
        *(f"{method} /rl/{{path:path}}" for method in ("GET", "POST", "PUT", "DELETE")),
    )
)
"""What answers without a key; nothing of a team is there."""

FOR_ANYBODY = frozenset(("POST /auth/device/confirm",))
"""What asks who is calling, but for no scope."""

FOR_ADMINS = frozenset(("GET /v2/audit",))
"""What only an admin may read; all that changes something needs more than reading anyway."""

OWN_COPY = frozenset(
    (
        "POST /v2/trace/job/{job_id}/enter",
        "POST /v2/trace/{trace_id}/enter",
        "POST /v2/trace/{trace_id}/exit",
        "POST /telemetry/v3/api/trace/{trace_id}/telemetry-upload",
        "PUT /v2/providers/{name}",
    )
)
"""Where an id that is new to a team makes a record of its own, whoever else has the same id."""

ANSWERED_ANYWAY = {
    "POST /v2/qa-agents/{agent_id}/run": 501,
    "POST /v2/qa-agents/{agent_id}/run-resources": 501,
}
"""What says the same whatever id is given."""

SILENT = frozenset(
    (
        "/v2/auth/me",
        "/v2/budgets",
        "/v2/models/resolve",
        "/v2/models/{model_id:path}/checkpoints",
        "/v2/qa-agents",
        "/v2/qa-agents/results",
        "/v2/qa-agents/results/resources",
        "/v2/qa/checks",
        "/v2/qa/results",
        "/v2/tasksets",
        "/v2/registry/{environment_id}/variables",
        "/v2/tasksets/by-name/{name:path}",
        "/v2/tasksets/{taskset_id}",
        "/v2/traces/{trace_id}/screen",
        "/v2/rollouts/queue",
        "/v2/usage",
        "/v2/jobs/events",
        "/v2/jobs/{job_id}/events",
        "/v2/trace/{trace_id}/live",
        "/v2/trace/{trace_id}/kinds",
        "/v2/trace/{trace_id}/search",
    )
)
"""Where nothing that the owners wrote themselves is to be seen, or it never ends."""

BODIES: dict[str, Any] = {
    "POST /v2/tasksets/{taskset:path}/publications": {"job_id": ""},
    "POST /v2/registry/{environment_id}/rollback": {"version": 1},
    "POST /v2/builds/trigger": {"build_id": "", "name": "theirs"},
    "PUT /v2/members/{user_id}": {"role": "viewer"},
    "PUT /v2/providers/{name}": {"dialect": "openai", "base_url": "http://127.0.0.1:9"},
    "PUT /v2/models/{model_id:path}/head": {"checkpoint_id": "x"},
    "PUT /v2/trace/{trace_id}/invalid": {"reason": "stolen"},
    "POST /v2/rollouts/cancel": {"trace_id": ""},
    "POST /v2/rollouts/submit": {
        "trace_id": "",
        "job_id": "",
        "env": "theirs",
        "task": "t",
        "agent": {"type": "noop"},
    },
    "POST /v2/tasksets/{taskset_id}/run": {"agent": {"type": "noop"}},
    "POST /runtime/sessions": {"environment": "theirs", "trace_id": ""},
    "POST /v2/rollouts/cancel_job": {"job_id": ""},
    "POST /v2/trace/{trace_id}/enter": {"job_id": "", "task_slug": "t"},
    "POST /v2/trace/{trace_id}/exit": {"status": "completed"},
    "POST /telemetry/v3/api/trace/{trace_id}/telemetry-upload": {"telemetry": []},
}
"""Bodies that go through, so that it is the id that is refused; an empty id stands for theirs."""


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
"""What asks for a WebSocket."""

SWITCHED = 101
LONGEST_OF_A_HANDSHAKE = 7_000
"""What the library reads of a header there; to more it answers nothing."""

FOR_READERS = frozenset(("WS /v2/builds/{build_id}/logs",))
"""Sockets that tell something to whoever may read."""


OF_WHAT_RUNS = frozenset(("WS /v2/traces/{trace_id}/screen",))
"""What a reader may open where something runs, as nothing does in these tests."""


@dataclass(frozen=True, slots=True)
class World:
    """A server with a team that has everything, and a stranger's team that has nothing."""

    server: Server
    owned: Owned
    places: list[Place]
    stranger: str


@pytest.fixture(scope="module")
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> World:
    found = places(tmp_path_factory.mktemp("routes"))
    assert len(found) > 50
    return World(server, own_everything(server, "owners"), found, server.key(team="strangers"))


@pytest.fixture
def asked(world: World) -> Generator[Callable[[Place, str | None], httpx.Response]]:
    """Return what tries a place with a key, with the owners' ids."""
    with world.server.client() as client:

        def ask(place: Place, key: str | None) -> httpx.Response:
            return _ask(client, world.owned, place, key)

        yield ask


def _ask(client: httpx.Client, owned: Owned, place: Place, key: str | None) -> httpx.Response:
    if key is not None and place.method == SOCKET:
        key = key[:LONGEST_OF_A_HANDSHAKE]
    headers = {} if key is None else {"Authorization": f"Bearer {key}".strip()}
    body = BODIES.get(str(place), {})
    filled = {name: owned.values[name] if value == "" else value for name, value in body.items()}
    if place.method == SOCKET:
        headers |= UPGRADE
    request = client.build_request(
        "GET" if place.method == SOCKET else place.method,
        owned.path(place),
        params=owned.query.get(place.path),
        headers=headers,
        json=None if place.method in ("GET", "DELETE", SOCKET) else filled,
    )
    reply = client.send(request, stream=True)
    try:
        if not _is_endless(reply):
            reply.read()
    finally:
        reply.close()
    return reply


def _is_endless(reply: httpx.Response) -> bool:
    is_stream = "event-stream" in reply.headers.get("content-type", "")
    return is_stream or reply.status_code == SWITCHED


def _told(reply: httpx.Response) -> str:
    return "" if _is_endless(reply) else reply.text


def test_every_exception_is_a_place_that_exists(world: World) -> None:
    known = {str(place) for place in world.places}
    listed = OPEN | FOR_ANYBODY | FOR_ADMINS | OWN_COPY | ANSWERED_ANYWAY.keys() | BODIES.keys()
    listed |= FOR_READERS | OF_WHAT_RUNS
    assert listed <= known


@pytest.mark.parametrize(
    "key", ["none", "wrong", "empty", "long", "odd", "expired", "revoked", "session"]
)
def test_without_a_good_key_nothing_is_told_anywhere(
    world: World, asked: Callable[[Place, str | None], httpx.Response], key: str
) -> None:
    secret = {
        "none": None,
        "wrong": "hud_" + "x" * 40,
        "empty": "",
        "long": "hud_" + "x" * 10_000,
        "odd": "hud_'; DROP TABLE api_keys; --",
        "session": "a" * 43,
        "expired": make_key(world.server, "owners", expires_in_s=-1),
        "revoked": make_key(world.server, "owners", is_revoked=True),
    }[key]
    for place in world.places:
        reply = asked(place, secret)
        assert MARK not in _told(reply), place
        if str(place) in OPEN:
            assert reply.status_code != 500, place
            continue
        assert reply.status_code == 401, f"{place}: {reply.status_code} {reply.text[:200]}"
        if place.is_page and "html" in reply.headers["content-type"]:
            assert "not signed in" in reply.text
        elif not place.is_mounted:
            _check_shape(reply)
            assert reply.headers["www-authenticate"] == "Bearer"


def test_a_key_ends_with_the_membership_it_came_from(world: World) -> None:
    key = make_key(world.server, "owners")
    with world.server.client(world.owned.key) as owner, world.server.client(key) as client:
        user_id = client.get("/v2/auth/me").json()["user_id"].replace("-", "")
        assert client.get("/v2/tasksets").status_code == 200
        assert owner.delete(f"/v2/members/{user_id}").status_code == 200
        reply = client.get("/v2/tasksets")
    assert reply.status_code == 401


@pytest.mark.parametrize("who", ["a read key", "a viewer"])
def test_a_reader_changes_nothing_anywhere(
    world: World, asked: Callable[[Place, str | None], httpx.Response], who: str
) -> None:
    key = (
        make_key(world.server, "owners", scopes=("read",))
        if who == "a read key"
        else make_key(world.server, "owners", role="viewer")
    )
    before = _everything(world)
    for place in world.places:
        reply = asked(place, key)
        if str(place) in OPEN:
            continue
        if str(place) in FOR_ANYBODY or place.is_page:
            assert reply.status_code in (200, 403, 404, 422, 503), place
        elif str(place) in FOR_READERS:
            assert reply.status_code == SWITCHED, place
        elif str(place) in OF_WHAT_RUNS:
            assert reply.status_code == 404, place
        elif place.method == "GET" and not place.is_mounted and str(place) not in FOR_ADMINS:
            assert reply.status_code == 200, f"{place}: {reply.text[:300]}"
        else:
            assert reply.status_code == 403, f"{place}: {reply.status_code} {reply.text[:200]}"
    assert _everything(world) == before


def test_a_key_for_inference_reads_and_changes_nothing(
    world: World, asked: Callable[[Place, str | None], httpx.Response]
) -> None:
    key = make_key(world.server, "owners", scopes=("inference",))
    for place in world.places:
        reply = asked(place, key)
        if str(place) in OPEN | FOR_ANYBODY or place.is_page:
            continue
        if place.is_mounted:
            assert reply.status_code not in (401, 403, 500), place
        else:
            assert reply.status_code == 403, f"{place}: {reply.status_code} {reply.text[:200]}"
            assert MARK not in _told(reply), place


def test_a_stranger_finds_nothing_of_another_team_and_changes_nothing_of_it(
    world: World,
    asked: Callable[[Place, str | None], httpx.Response],
    attempt_row: Record,
) -> None:
    before = _everything(world)
    for place in sorted(world.places, key=lambda place: str(place) in OWN_COPY):
        reply = asked(place, world.stranger)
        assert MARK not in _told(reply), f"{place}: {reply.text[:500]}"
        if place.is_page:
            # It is built before anybody has anything.
            assert reply.text == asked(place, world.owned.key).text, place
            continue
        assert reply.status_code < 500 or reply.status_code == 501, place
        if str(place) in OPEN | FOR_ANYBODY or place.is_mounted:
            continue
        if str(place) in OWN_COPY:
            assert reply.status_code == 200, f"{place}: {reply.text[:200]}"
        elif str(place) in ANSWERED_ANYWAY:
            assert reply.status_code == ANSWERED_ANYWAY[str(place)], place
        elif place.parameters or place.path in world.owned.query:
            assert reply.status_code == 404, f"{place}: {reply.status_code} {reply.text[:200]}"
        _check_ids_stay(world, place, reply)
    for place in world.places:
        # Of the ids that the stranger has records of its own for by now, too.
        if place.method == "GET":
            assert MARK not in _told(asked(place, world.stranger)), place
    assert _everything(world) == before
    attempt_row(
        by="another team",
        what="read or change anything: environments, variables, logs, builds, runs, leases",
        came=f"as if it were not there, at each of {len(world.places)} places of the API",
    )


def test_the_owners_find_it_all(
    world: World, asked: Callable[[Place, str | None], httpx.Response]
) -> None:
    """Without this, the tests above could pass because there is nothing to find."""
    marked: set[str] = set()
    for place in world.places:
        if _is_looked_at(place):
            reply = asked(place, world.owned.key)
            assert reply.status_code == 200, f"{place}: {reply.text[:300]}"
            if MARK in _told(reply):
                marked.add(place.path)
    assert {place.path for place in world.places if _is_looked_at(place)} - marked == SILENT


def _is_looked_at(place: Place) -> bool:
    is_data = not (place.is_mounted or place.is_page or str(place) in OPEN)
    return is_data and place.method == "GET"


def _everything(world: World) -> dict[str, Any]:
    """Return what the owners can read, without what merely looking changes."""
    found: dict[str, Any] = {}
    with world.server.client() as client:
        for place in world.places:
            if not _is_looked_at(place):
                continue
            reply = _ask(client, world.owned, place, world.owned.key)
            assert reply.status_code == 200, f"{place}: {reply.text[:300]}"
            found[str(place)] = _lasting(_told(reply))
    return found


def _lasting(text: str) -> Any:
    try:
        return _without(json.loads(text), "used_at")
    except ValueError:
        return text


def _without(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {key: _without(inner, name) for key, inner in fields.items() if key != name}
    if isinstance(value, list):
        return [_without(inner, name) for inner in cast("list[Any]", value)]
    return value


def _check_shape(reply: httpx.Response) -> None:
    body = reply.json()
    assert set(body) == {"detail", "code", "hint"}
    assert isinstance(body["detail"], str)
    assert body["detail"]


def _check_ids_stay(world: World, place: Place, reply: httpx.Response) -> None:
    """Fail when a reply holds an id of the owners that was not in the question."""
    asked = set(world.owned.at(place).values())
    asked |= {str(value) for value in world.owned.query.get(place.path, {}).values()}
    body = BODIES.get(str(place), {})
    asked |= {world.owned.values[name] for name, value in body.items() if value == ""}
    told = _told(reply).replace("-", "")
    for name, value in world.owned.values.items():
        plain = value.replace("-", "")
        is_id = len(plain) >= 32
        if is_id and value not in asked and not any(plain in one for one in asked):
            assert plain not in told, f"{place} tells {name}"
