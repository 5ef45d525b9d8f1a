"""The protocol as JSON schema: complete, and its own references resolve."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from hud.protocol import MAX_FRAME_BYTES, PROTOCOL_VERSION, methods
from hud.protocol.schema import protocol_schema

SOURCE = Path(__file__).parents[2] / "src"


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        own = {held["$ref"]} if isinstance(held.get("$ref"), str) else set[str]()
        return own.union(*map(references, held.values()))
    if isinstance(value, list):
        return set[str]().union(*map(references, cast("list[Any]", value)))
    return set()


def test_every_method_has_its_params_and_its_result() -> None:
    schema = protocol_schema()

    assert set(schema["methods"]) == set(methods.PARAMS) == set(methods.RESULTS)
    assert all(set(shapes) == {"params", "result"} for shapes in schema["methods"].values())
    assert set(schema["frames"]) == {"request", "reply", "error"}
    assert schema["version"] == PROTOCOL_VERSION
    assert schema["frame_limit_bytes"] == MAX_FRAME_BYTES == 16 * 1024 * 1024


def test_every_reference_leads_to_a_definition() -> None:
    schema = protocol_schema()
    found = references(schema)

    assert found
    assert {name.removeprefix("#/$defs/") for name in found} <= set(schema["$defs"])


def test_what_must_be_sent_is_required_and_nothing_else() -> None:
    defined = protocol_schema()["$defs"]

    assert defined["StartParams"]["required"] == ["id"]
    assert defined["TunnelParams"]["required"] == ["capability"]
    assert "required" not in defined["HelloParams"] or defined["HelloParams"]["required"] == []
    assert set(defined["HelloResult"]["required"]) == {"session_id", "env"}
    assert defined["GradeFrame"]["required"] == ["score"]
    assert set(defined["Capability"]["required"]) == {"name", "protocol"}


def test_the_module_prints_the_schema() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hud.protocol.schema"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads(json.dumps(protocol_schema()))
