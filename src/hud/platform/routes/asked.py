"""What routes are asked in the same words: ids, searches, pages; and how they may refuse."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import Path, Query
from pydantic import BaseModel

from hud.platform.errors import ErrorBody

Id = Annotated[str, Path(max_length=64, json_schema_extra={"format": "uuid"})]
"""An id in a path, dashed or plain; one that is no id is as good as unknown."""

_NO_NUL = r"^[^\x00]*$"
Text = Annotated[str | None, Query(max_length=500, pattern=_NO_NUL)]
"""A text to compare with, exactly."""
Slug = Annotated[str, Query(max_length=500, pattern=_NO_NUL)]
Search = Annotated[str, Query(max_length=200, pattern=_NO_NUL, description="Part of the name.")]
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=2**31)]
Cursor = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of a page.")]


def raw_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that reads its body itself, and reads it as `model`."""
    schema = model.model_json_schema()
    whole = _inlined(schema, schema.pop("$defs", {}))
    content = {"application/json": {"schema": whole}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: Any, defined: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(each, defined) for each in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    named: Any = cast("dict[str, Any]", schema).get("$ref")
    if isinstance(named, str):
        return _inlined(defined[named.rpartition("/")[2]], defined)
    return {key: _inlined(each, defined) for key, each in cast("dict[str, Any]", schema).items()}


_MEANINGS = {
    400: "What was sent cannot be used; `detail` says which part.",
    401: "No valid key.",
    403: "The key lacks the scope.",
    404: "There is no such thing, or it belongs to another team.",
    409: "It is there already.",
    413: "The body is too long.",
    501: "This platform does not do that.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of these statuses, beside those that every route may answer."""
    return {
        status: {"model": ErrorBody, "description": _MEANINGS[status]}
        for status in (401, 403, *statuses)
    }
