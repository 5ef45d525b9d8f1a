"""Command line of `python -m hud.packaging.describe`: load a source behind a wall and describe it.

Run by `inspect`, in a process that may be killed at any moment; the answer goes to a descriptor.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from typing import Any

from hud._core import json
from hud._core.errors import HudError, InputError, bounded
from hud.environment.environment import Environment
from hud.environment.loader import choose, execute, resolve
from hud.packaging import inside
from hud.protocol import capability

_START_S = 30.0
_KINDS = {
    "Workspace": capability.SSH,
    "ToolServer": capability.MCP,
    "Browser": capability.CDP,
    "Desktop": capability.RFB,
    "RobotEndpoint": capability.ROBOT,
    "FileTracking": "filetracking/1",
}


def main(order: int, answer: int, target: str, name: str) -> None:
    """Write what the source offers, or why it cannot be used, to the descriptor `answer`."""
    os.set_inheritable(answer, False)
    inside.enter(order)
    inside.lay_source()
    said: dict[str, Any]
    try:
        said = described(target, name or None)
    except HudError as error:
        said = {
            "error": error.message,
            "hint": error.hint,
            "is_input": isinstance(error, InputError),
        }
    except BaseException as error:
        traceback.print_exc()
        said = {"error": f"{type(error).__qualname__}: {bounded(str(error), 500)}"}
    with os.fdopen(answer, "wb") as file:
        file.write(json.encode(said))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def described(target: str, name: str | None, top: str = inside.SOURCE) -> dict[str, Any]:
    """Load a source in this process and return what it offers; `top` is the source's folder."""
    source = resolve(target)
    loaded = execute(source)
    found = loaded.environments()
    env = choose(loaded, name)
    return {
        "source": os.path.relpath(source.path, top),
        "attribute": source.attribute,
        "name": env.name,
        "environments": [held.name for held in found],
        "tasks": env.manifest(),
        "capabilities": asyncio.run(_capabilities(env)),
    }


async def _capabilities(env: Environment) -> list[dict[str, str]]:
    """Return the capabilities that agents will see; declared ones where it cannot be started."""
    try:
        async with asyncio.timeout(_START_S):
            await env.start()
            return [{"name": row.name, "protocol": row.protocol} for row in env.capabilities]
    except (Exception, TimeoutError) as error:
        print(f"{env.name} does not start here ({error}): its capabilities are as declared")  # noqa: T201
        rows = {row.name: row.protocol for row in env.capabilities}
        for daemon in env.daemons:
            rows.setdefault(daemon.name, _protocol_of(daemon))
        return [{"name": name, "protocol": protocol} for name, protocol in rows.items()]
    finally:
        await env.stop()


def _protocol_of(daemon: object) -> str:
    names = (kind.__name__ for kind in type(daemon).__mro__)
    return next((_KINDS[name] for name in names if name in _KINDS), "unknown")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
