"""The published description of the API is complete, and no request it allows breaks the server."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any, cast

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from hud.platform.app import openapi_document
from tests.platform.server import DEADLINE_S, Server
from tests.platform.surface import own_everything

DOCUMENT = openapi_document()
ENDLESS = frozenset(
    path
    for path, methods in DOCUMENT["paths"].items()
    if "text/event-stream"
    in methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
)
"""Live streams, which do not end by themselves."""
OPERATIONS = [
    (f"{method.upper()} {path}", cast("dict[str, Any]", operation))
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
NEEDS_NO_KEY = frozenset(
    (
        "GET /healthz",
        "POST /sign-out",
        "POST /auth/device/code",
        "POST /auth/device/token",
        "POST /telemetry/v3/api/sdk-events/cli",
    )
)


def test_the_description_is_published_as_it_is_generated(server: Server) -> None:
    with server.client() as client:
        published = client.get("/openapi.json")
    assert published.json() == json.loads(json.dumps(DOCUMENT))


def test_the_description_is_valid_openapi() -> None:
    from openapi_spec_validator import validate

    validate(DOCUMENT)


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_every_operation_says_what_it_does_takes_and_gives(
    name: str, operation: dict[str, Any]
) -> None:
    assert operation.get("tags"), name
    assert operation.get("description"), name
    for parameter in operation.get("parameters", ()):
        assert parameter["schema"], f"{name}: {parameter['name']}"
    good = {status: one for status, one in operation["responses"].items() if status[0] == "2"}
    assert good, name
    for status, response in good.items():
        for kind, content in response.get("content", {}).items():
            if kind == "application/json" and "501" not in operation["responses"]:
                assert content.get("schema"), f"{name} {status} gives an untyped body"
    assert "4XX" in operation["responses"] or name in NEEDS_NO_KEY, name


def test_nothing_in_the_description_lets_extra_secrets_out(server: Server) -> None:
    text = json.dumps(DOCUMENT)
    for word in (str(server.home), 'sha256":', "hud_session="):
        assert word not in text


@pytest.fixture(scope="module")
def fuzzed(server: Server) -> tuple[Server, str]:
    return server, own_everything(server, "owners").key


# Its types are not complete.
_fuzzing: Any = schemathesis
_checks: Any = import_module("schemathesis.specs.openapi.checks")
CHECKED = [_checks.response_schema_conformance, _checks.content_type_conformance]
ALL: Any = list(cast("Any", HealthCheck))


@_fuzzing.serializer("application/gzip")
def as_it_is(context: Any, value: Any) -> bytes:
    """Send a binary body as it was made."""
    return value if isinstance(value, bytes) else str(value).encode()


schema: Any = _fuzzing.openapi.from_dict(DOCUMENT).exclude(path=list(ENDLESS))


def _try(case: Any, fuzzed: tuple[Server, str]) -> None:
    server, key = fuzzed
    headers = {"Authorization": f"Bearer {key}"}
    reply = case.call(base_url=server.url, headers=headers, timeout=DEADLINE_S)
    documented = str(reply.status_code) in case.operation.definition.raw["responses"]
    assert reply.status_code < 500 or (reply.status_code == 501 and documented), reply.text
    case.validate_response(reply, checks=CHECKED)


@schema.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=ALL,
)
def test_no_request_that_the_description_allows_breaks_the_server(
    case: Any, fuzzed: tuple[Server, str]
) -> None:
    _try(case, fuzzed)


@pytest.mark.soak
@schema.parametrize()
@settings(max_examples=300, deadline=None, database=None, suppress_health_check=ALL)
def test_no_request_breaks_the_server_however_long_one_tries(
    case: Any, fuzzed: tuple[Server, str]
) -> None:
    _try(case, fuzzed)


def test_the_server_still_answers_and_its_key_is_still_good(fuzzed: tuple[Server, str]) -> None:
    server, key = fuzzed
    with server.client(key) as client:
        assert client.get("/v2/auth/me").status_code == 200
        assert isinstance(client.get("/healthz"), httpx.Response)
    assert "Traceback" not in server.said()
