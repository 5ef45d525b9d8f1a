"""The simulator's process: `python -m hud.environment.robot.sim`, with a recipe on stdin."""

from __future__ import annotations

import os
import sys
import traceback

from hud._core.errors import HudError
from hud._core.processes import die_with_parent
from hud.environment.robot.recipe import Recipe
from hud.environment.robot.serve import serve_bridge

PARENT = "HUD_ROBOT_PARENT"


def main() -> int:
    """Build the bridge and serve it until the environment that started this is gone."""
    parent = os.environ.pop(PARENT, None)
    die_with_parent()
    if parent is not None and os.getppid() != int(parent):
        return 1
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        bridge = Recipe.load(sys.stdin.buffer.read()).build()
    except HudError as error:
        sys.stderr.write(f"error: {error.message}{f' ({error.hint})' if error.hint else ''}\n")
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    serve_bridge(bridge)
    return 0


if __name__ == "__main__":
    sys.exit(main())
