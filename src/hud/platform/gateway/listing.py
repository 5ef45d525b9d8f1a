"""The models of a team in the words of each dialect."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from hud._core import json
from hud._core.errors import bounded
from hud.models.asgi import Refusal
from hud.models.provider import Dialect
from hud.models.wire import Asked
from hud.platform.gateway.served import ServedModel


def listing(asked: Asked, models: Sequence[ServedModel]) -> bytes:
    """Return the answer to `GET /models`, or to `GET /models/NAME`.

    Raises:
        Refusal: when no model has that name.
    """
    _, _, wanted = asked.route.partition("/models/")
    if not wanted:
        return json.encode(_page(asked.dialect, models))
    name = unquote(wanted)
    for model in models:
        if model.name == name:
            return json.encode(_item(asked.dialect, model))
    raise Refusal(404, "model_not_found", f"no model {bounded(name)!r} is served here")


def _page(dialect: Dialect, models: Sequence[ServedModel]) -> dict[str, Any]:
    items = [_item(dialect, model) for model in models]
    match dialect:
        case Dialect.GEMINI:
            return {"models": items}
        case Dialect.MESSAGES:
            ends = (items[0]["id"], items[-1]["id"]) if items else (None, None)
            return {"data": items, "has_more": False, "first_id": ends[0], "last_id": ends[1]}
        case _:
            return {"object": "list", "data": items}


def _item(dialect: Dialect, model: ServedModel) -> dict[str, Any]:
    seconds = model.created_at // 1_000_000
    match dialect:
        case Dialect.GEMINI:
            item: dict[str, Any] = {
                "name": f"models/{model.name}",
                "displayName": model.name,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            if model.info is not None and model.info.context_window is not None:
                item["inputTokenLimit"] = model.info.context_window
            return item
        case Dialect.MESSAGES:
            created = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
            return {
                "type": "model",
                "id": model.name,
                "display_name": model.name,
                "created_at": created,
            }
        case _:
            return {
                "id": model.name,
                "object": "model",
                "created": seconds,
                "owned_by": model.provider.name,
            }
