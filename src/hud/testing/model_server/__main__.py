"""A model server in a process of its own: `python -m hud.testing.model_server`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import runpy
import sys
from collections.abc import Sequence
from typing import Any, cast

from hud.testing.model_server.script import letter_count
from hud.testing.model_server.server import ModelServer, Rule
from hud.testing.model_server.serving import LatencyS

_RULES: dict[str, Rule] = {"letter_count": letter_count}


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(
        prog="python -m hud.testing.model_server", description="Serve every provider's API."
    )
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument(
        "--rule",
        type=_rule,
        default=letter_count,
        help="letter_count, module:function or path.py:function",
    )
    parser.add_argument(
        "--latency", type=_latency, default=0.0, help="seconds before every answer: 2, or 2-4"
    )
    parser.add_argument("--dies-after", type=int, help="die after so many answers")
    parser.add_argument("--api-key", help="the one key accepted")
    options = parser.parse_args(argv)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> None:
    server = ModelServer(
        options.rule,
        latency_s=options.latency,
        api_key=options.api_key,
        dies_after=options.dies_after,
        keep_requests=False,
        port=options.port,
    )
    async with server:
        sys.stdout.write(f"MODEL_SERVER_PORT={server.port}\n")
        sys.stdout.flush()
        await server.serve_forever()


def _rule(text: str) -> Rule:
    if text in _RULES:
        return _RULES[text]
    source, colon, name = text.rpartition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is no rule: {', '.join(_RULES)} or module:name")
    try:
        held: Any
        if source.endswith(".py"):
            held = runpy.run_path(source).get(name)
        else:
            held = getattr(importlib.import_module(source), name, None)
    except Exception as error:
        said = f"{source!r} cannot be loaded: {type(error).__name__}: {error}"
        raise argparse.ArgumentTypeError(said) from error
    if not callable(held):
        raise argparse.ArgumentTypeError(f"{source!r} has no function {name!r}")
    return cast("Rule", held)


def _latency(text: str) -> LatencyS:
    low, dash, high = text.partition("-")
    if not dash:
        return float(low)
    return float(low), float(high)


if __name__ == "__main__":
    main()
