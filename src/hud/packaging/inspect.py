"""What a source offers, learnt by running it behind a wall: a stranger's source may do anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from hud._core import json
from hud._core.errors import EnvironmentFault, InputError, bounded
from hud._core.redact import redact
from hud.packaging import inside
from hud.packaging.lock import LockedCapability, LockedTask
from hud.packaging.root import Ask, Root

INSPECT_S = 120.0
_ANSWER_BYTES = 16 << 20
_OUTPUT_BYTES = 256 << 10
_MEMORY_MB = 4096


class Offer(BaseModel):
    """What a source offers.

    Attributes:
        source: Its file, from the folder.
        attribute: What was named in it, if anything.
        name: Of the environment that was asked for, or the only one.
        environments: Of all it declares.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    source: str
    attribute: str | None = None
    name: str
    environments: tuple[str, ...] = ()
    tasks: tuple[LockedTask, ...] = ()
    capabilities: tuple[LockedCapability, ...] = ()


async def inspect(
    bundle: Path,
    target: str = ".",
    *,
    env: str | None = None,
    variables: dict[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout_s: float = INSPECT_S,
) -> Offer:
    """Run the source of an unpacked bundle behind a wall without a network, and say what it offers.

    Args:
        bundle: Folder with `source`, `hud` and maybe `packages`.
        target: The source in it, from its top: a file, a folder, `file:attribute`.
        env: Name of the environment, when it has several.
        variables: Environment variables it gets.
        on_line: Told what it prints.

    Raises:
        InputError: when the source or the environment in it cannot be used.
        EnvironmentFault: when it ends its interpreter or takes too long.
        RuntimeFault: when there can be no wall here.
    """
    ask = Ask(env=variables, memory_mb=_MEMORY_MB, processes=1024, is_strict=False)
    root = Root(bundle, ask)
    answer, answerer = os.pipe2(os.O_CLOEXEC)
    output, printer = os.pipe2(os.O_CLOEXEC)
    try:
        path = f"{inside.SOURCE}/{target}" if target != "." else inside.SOURCE
        module = ["hud.packaging.describe", str(answerer), path, env or ""]
        os.set_inheritable(answerer, True)
        await root.start(module, [answerer], printer)
        os.close(answerer)
        os.close(printer)
        answerer = printer = -1
        async with asyncio.timeout(timeout_s):
            said, printed = await asyncio.gather(
                _read(answer, _ANSWER_BYTES), _read(output, _OUTPUT_BYTES, on_line)
            )
            await root.wait()
            reason = root.ended_because()
    except TimeoutError:
        raise EnvironmentFault(
            f"the source did not finish importing within {timeout_s:g} s",
            hint="move slow set-up into @env.initialize",
        ) from None
    finally:
        for fd in (answer, answerer, output, printer):
            if fd != -1:
                os.close(fd)
        await root.aclose()
    if not said:
        last = redact(_outside(printed[-1000:].decode("utf-8", "replace"))).strip()
        why = reason or "it ended its interpreter"
        printed_last = f"; it last printed: {last}" if last else ""
        raise EnvironmentFault(f"the source could not be inspected: {why}{printed_last}")
    return _offer(said)


def _offer(said: bytes) -> Offer:
    try:
        document: Any = json.decode(said)
        if isinstance(document, dict) and "error" in document:
            refusal = cast("dict[str, Any]", document)
            kind = InputError if refusal.get("is_input") else EnvironmentFault
            hint = refusal.get("hint")
            raise kind(
                redact(bounded(_outside(str(refusal["error"])), 1_000)),
                hint=redact(bounded(_outside(str(hint)), 500)) if hint else None,
            )
        return Offer.model_validate(document)
    except (ValueError, ValidationError) as error:
        text = bounded(str(error), 200)
        raise InputError(f"the source describes itself wrongly: {text}") from None


def _outside(text: str) -> str:
    """Name files as whoever wrote them knows them: from the top of the source."""
    return text.replace(f"{inside.SOURCE}/", "").replace(inside.SOURCE, "the source")


async def _read(fd: int, at_most: int, on_line: Callable[[str], None] | None = None) -> bytes:
    """Read to the end, keep the first `at_most` bytes, and tell the lines as they come."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 16)
    pipe = os.fdopen(os.dup(fd), "rb")
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    held, line = b"", b""
    try:
        while chunk := await reader.read(1 << 16):
            held += chunk[: max(0, at_most - len(held))]
            if on_line is None:
                continue
            *lines, line = (line + chunk).split(b"\n")
            line = line[-4096:]
            for text in lines:
                on_line(redact(_outside(text[-4096:].decode("utf-8", "replace"))))
        if line and on_line is not None:
            on_line(redact(_outside(line.decode("utf-8", "replace"))))
    finally:
        with contextlib.suppress(Exception):
            transport.close()
    return held
