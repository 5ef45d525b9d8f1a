"""The program that builds a bundle, inside the sandbox; it and all it starts are not trusted.

    python -m hud.platform.builds.bundle_child SOURCE STORE RESULT

What came of it goes into the file RESULT, as JSON; everything printed is the build's log.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hud._core import json
from hud._core.errors import HudError, bounded


def main(source: str, store: str, result: str) -> int:
    """Build, and return the exit code."""
    try:
        outcome = _built(Path(source), Path(store))
        code = 0
    except HudError as error:
        outcome = {"error": bounded(error.message, 2000), "hint": error.hint}
        code = 1
    Path(result).write_bytes(json.encode(outcome))
    return code


def _built(source: Path, store: Path) -> dict[str, Any]:
    from hud.packaging.bundle import build_bundle

    bundle = build_bundle(source, store=store, on_line=_say)
    return {"digest": bundle.digest}


def _say(line: str) -> None:
    sys.stdout.write(line.rstrip("\n") + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
