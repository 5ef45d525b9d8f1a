"""Run JavaScript in a page: the caller's own, or ours where no script of the page can interfere.

What comes back from a page is data of a stranger: bounded, and never trusted to have a shape.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from hud._core import json
from hud._core.errors import bounded
from hud.capabilities.cdp.connection import Params
from hud.capabilities.cdp.errors import CDPError, JavaScriptError
from hud.capabilities.cdp.link import CALL_TIMEOUT_S
from hud.capabilities.cdp.page import Page
from hud.capabilities.cdp.reply import record

RESULT_LIMIT = 1 << 20
_MESSAGE_LIMIT = 2_000
_WORLD = "hud"
# What a script in this mode that was ended is answered with, for lack of a better number.
_ENDED = -32603
_GROUP = "hud"


async def evaluate(
    page: Page, expression: str, *, await_promise: bool, timeout_s: float, max_chars: int
) -> Any:
    """Evaluate `expression` as the page's own script would be, and return its value.

    Raises:
        JavaScriptError: when it throws, or its promise is rejected.
        CDPError: when the value has no JSON form, is too large, or takes too long.
    """
    end = asyncio.get_running_loop().time() + timeout_s
    found = await _run(
        page,
        {
            "expression": expression,
            "awaitPromise": await_promise,
            "userGesture": True,
            # Lets `await` stand anywhere, and names be declared again.
            "replMode": True,
            "objectGroup": _GROUP,
            # A script that computes for ever is ended a little before its time is up.
            "timeout": timeout_s * 900,
        },
        timeout_s,
    )
    _raise_exception(found)
    result = record(found, "result")
    if "objectId" not in result:
        return _value(found, max_chars)
    left = end - asyncio.get_running_loop().time()
    try:
        return _value(await _by_value(page, result, await_promise, left), max_chars)
    finally:
        if not page.is_gone:
            page.post("Runtime.releaseObjectGroup", {"objectGroup": _GROUP})


async def _run(page: Page, params: Params, timeout_s: float) -> Params:
    try:
        return await page.call("Runtime.evaluate", params, timeout_s=timeout_s)
    except CDPError as error:
        if error.cdp_code != _ENDED and "terminated" not in error.message:
            raise
        raise CDPError(
            f"the script was still running after {timeout_s:.3g} s and was ended"
        ) from error


async def _by_value(page: Page, result: Params, await_promise: bool, timeout_s: float) -> Params:
    """Return what an object, or the promise of one, is worth as data."""
    if await_promise and result.get("subtype") == "promise":
        awaited: Params = {"promiseObjectId": result["objectId"], "returnByValue": True}
        return await page.call("Runtime.awaitPromise", awaited, timeout_s=timeout_s)
    itself: Params = {
        "objectId": result["objectId"],
        "functionDeclaration": "function () { return this; }",
        "returnByValue": True,
    }
    return await page.call("Runtime.callFunctionOn", itself, timeout_s=timeout_s)


async def run_apart(
    page: Page, function: str, *arguments: Any, timeout_s: float = CALL_TIMEOUT_S
) -> Any:
    """Call a function of ours in a world of its own, which sees the page's document only.

    Raises:
        CDPError: when it throws, or the page has no document to run it on.
    """
    reply = await _apart(page, function, arguments, by_value=True, timeout_s=timeout_s)
    return _value(reply, math.inf)


async def find_apart(page: Page, function: str, *arguments: Any) -> str | None:
    """Call a function of ours that returns a node, and return that node's object id."""
    reply = await _apart(page, function, arguments, by_value=False, timeout_s=CALL_TIMEOUT_S)
    _raise_exception(reply)
    held = record(reply, "result").get("objectId")
    return held if isinstance(held, str) else None


async def _apart(
    page: Page, function: str, arguments: tuple[Any, ...], *, by_value: bool, timeout_s: float
) -> Params:
    world = await page.call(
        "Page.createIsolatedWorld", {"frameId": page.frame_id, "worldName": _WORLD}
    )
    return await page.call(
        "Runtime.callFunctionOn",
        {
            "functionDeclaration": function,
            "executionContextId": world.get("executionContextId"),
            "arguments": [{"value": argument} for argument in arguments],
            "returnByValue": by_value,
            "awaitPromise": True,
        },
        timeout_s=timeout_s,
    )


def _value(reply: Params, max_chars: float) -> Any:
    _raise_exception(reply)
    found = record(reply, "result")
    if "unserializableValue" in found:
        return _special(str(found["unserializableValue"]))
    value = found.get("value")
    size = len(value) if isinstance(value, str) else len(json.encode(value))
    if size > max_chars:
        raise CDPError(
            f"the value has {size} characters, more than the {max_chars} that were asked for",
            hint="let the script return less, or raise max_chars",
        )
    return value


def _special(text: str) -> float | int:
    """Read a value that JSON cannot hold: a big integer, infinity, minus zero or NaN."""
    if not text.endswith("n"):
        return float(text.replace("Infinity", "inf"))
    try:
        return int(text[:-1])
    except ValueError as error:
        raise CDPError(f"the big integer {bounded(text)} is too long") from error


def _raise_exception(reply: Mapping[str, Any]) -> None:
    told = record(reply, "exceptionDetails")
    if not told:
        return
    exception = record(told, "exception")
    said = exception.get("description")
    if said is None:
        said = exception.get("value", told.get("text"))
    line, column = told.get("lineNumber"), told.get("columnNumber")
    text = said if isinstance(said, str) else str(said)
    raise JavaScriptError(
        f"the script raised {bounded(text, _MESSAGE_LIMIT - 100)} (line {line}, column {column})"
    )
