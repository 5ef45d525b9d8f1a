"""What the routes of reports share: the intake of the app, ids in paths, answers."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Request
from starlette.responses import Response

from hud.platform.errors import ApiError
from hud.platform.ingest.intake import Intake
from hud.platform.ingest.lenient import decoded_object
from hud.platform.ingest.reports import stored_id

REPORT_LIMIT_BYTES = 8 * 1024 * 1024
_encoder = msgspec.json.Encoder()


def intake_of(request: Request) -> Intake:
    """Return the intake of the app that `request` came to."""
    return request.app.state.intake


def run_id_of(text: str) -> str:
    """Return an id from a path as it is stored.

    Raises:
        ApiError: with status 400, when it is empty or too long.
    """
    found = stored_id(text)
    if found is None:
        raise ApiError(400, "this is no id", kind="bad_input")
    return found


async def report_in(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request carries; an empty body is an empty one.

    Raises:
        ApiError: when it is something else, or too long.
    """
    async with intake_of(request).bodies.read(request, REPORT_LIMIT_BYTES) as content:
        return decoded_object(content)


def reply(answer: msgspec.Struct) -> Response:
    """Return an answer as a response."""
    return Response(_encoder.encode(answer), media_type="application/json")
