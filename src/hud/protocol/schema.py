"""The wire protocol as JSON schema, for peers written in other languages.

`python -m hud.protocol.schema` prints it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hud._core import json
from hud.protocol import frames, methods
from hud.protocol.framing import MAX_FRAME_BYTES
from hud.protocol.version import PROTOCOL_VERSION


def protocol_schema() -> dict[str, Any]:
    """Return one JSON schema (2020-12) document that covers every frame and method."""
    shapes: dict[str, Any] = {
        "request": frames.Request,
        "reply": frames.Reply,
        "error": frames.ErrorReply,
    }
    types = [*shapes.values(), *methods.PARAMS.values(), *methods.RESULTS.values()]
    found, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    schemas = list(found)
    params = schemas[len(shapes) : len(shapes) + len(methods.PARAMS)]
    results = schemas[len(shapes) + len(methods.PARAMS) :]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "HUD wire protocol",
        "version": PROTOCOL_VERSION,
        "frame_limit_bytes": MAX_FRAME_BYTES,
        "frames": dict(zip(shapes, schemas[: len(shapes)], strict=True)),
        "methods": {
            name: {"params": given, "result": result}
            for name, given, result in zip(methods.PARAMS, params, results, strict=True)
        },
        "$defs": components,
    }


if __name__ == "__main__":
    import sys

    sys.stdout.write(json.encode(protocol_schema()).decode() + "\n")
