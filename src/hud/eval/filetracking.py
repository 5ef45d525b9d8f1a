"""Put the files that a rollout changes on its trace, as its environment tells of them.

An environment that tells has a capability of the protocol `hud-files/1`, whose conversation stands
in `hud.environment.filetracking.feed`. What fails here is noted in `trace.extra`, and fails nothing
else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any, cast

from pydantic import ValidationError

from hud._core import json
from hud._core.errors import HudError, bounded
from hud.agents.run import Run
from hud.clients.client import HudClient
from hud.eval.boundary import describe
from hud.protocol.capability import Capability
from hud.trace.file_steps import PROTOCOL, FileBatch, FilesStep

logger = logging.getLogger(__name__)

NOTE = "file_tracking"
MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_BATCHES = 10_000
CONNECT_S = 10.0
DRAIN_S = 10.0
BROKEN_DRAIN_S = 2.0
_ATTEMPTS = 5
_RETRY_S = 0.2


@contextlib.asynccontextmanager
async def recording_files(run: Run, client: HudClient) -> AsyncGenerator[None]:
    """Record which files change inside the block, if the environment tells.

    When the block ends, what was found up to then is on the trace, unless the environment does not
    answer within ten seconds; two, when the block was broken off.
    """
    row = _row(client)
    if row is None:
        yield
        return
    follower = _Follower(run, row, client.lost)
    task = asyncio.create_task(follower.follow())
    within_s = BROKEN_DRAIN_S
    try:
        yield
        within_s = DRAIN_S
    finally:
        try:
            await follower.drain(task, within_s)
        finally:
            task.cancel()
            await asyncio.wait([task])
            follower.note()


def _row(client: HudClient) -> Capability | None:
    manifest = client.manifest
    if manifest is None:
        return None
    name = next((row.name for row in manifest.bindings if row.protocol == PROTOCOL), None)
    return None if name is None else client.binding(name)


class _Follower:
    """One run's conversation with its environment, taken up again where it broke."""

    def __init__(self, run: Run, row: Capability, lost: asyncio.Future[None]) -> None:
        self._run = run
        self._row = row
        self._lost = lost
        self._after: int | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._is_draining = False
        self._drained = asyncio.Event()
        self._batches = 0
        self._dropped = 0
        self._told: str | None = None
        self._broken: str | None = None

    async def follow(self) -> None:
        """Record batches until cancelled, or until nothing more can come."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_RETRY_S * attempt)
            try:
                await self._converse()
            except (OSError, TimeoutError, ValueError, HudError) as error:
                self._broken = describe(error)
            else:
                self._broken = "the environment closed the connection"
            if self._lost.done():
                return
        logger.warning("files of %s are no longer followed: %s", self._run.slug, self._broken)

    async def drain(self, following: asyncio.Task[None], within_s: float) -> None:
        """Ask for a last look, and wait until what it found is recorded."""
        self._is_draining = True
        self._ask()
        drained = asyncio.create_task(self._drained.wait())
        try:
            await asyncio.wait(
                [drained, following], timeout=within_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            drained.cancel()
        if self._drained.is_set():
            self._broken = None
        elif self._broken is None:
            self._broken = f"no answer within {within_s:g} s"

    def note(self) -> None:
        """Leave what is missing from the trace in `trace.extra`."""
        note: dict[str, Any] = {}
        failure = self._told or self._broken
        if failure is not None:
            note["failed"] = bounded(failure, 500)
        if self._dropped:
            note["lost_batches"] = self._dropped
        if note:
            self._run.trace.extra[NOTE] = note

    async def _converse(self) -> None:
        address = self._row.address
        if address is None:
            raise ConnectionError("the capability has no address")
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(*address, limit=MAX_LINE_BYTES)
        try:
            writer.write(json.encode({"after": self._after}) + b"\n")
            self._writer = writer
            if self._is_draining:
                self._ask()
            while line := await reader.readline():
                self._take(line)
        finally:
            self._writer = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _ask(self) -> None:
        if self._writer is not None:
            self._writer.write(b'{"flush":1}\n')

    def _take(self, line: bytes) -> None:
        value: Any = json.decode(line)
        if not isinstance(value, dict):
            raise ValueError(f"the environment sent no message: {bounded(value)}")
        message = cast("dict[str, Any]", value)
        lost, seq = message.get("lost"), message.get("seq")
        if isinstance(lost, int):
            self._dropped += lost
        elif "flushed" in message:
            self._drained.set()
        elif isinstance(seq, int) and (self._after is None or seq > self._after):
            self._after = seq
            self._keep(message)

    def _keep(self, message: dict[str, Any]) -> None:
        if "failed" in message:
            self._told = str(message["failed"])
        if "batch" not in message:
            return
        self._batches += 1
        if self._batches > MAX_BATCHES:
            self._dropped += 1
            return
        try:
            batch = FileBatch.model_validate(message["batch"])
        except ValidationError as error:
            self._told = f"the environment sent no batch of files: {error}"
            return
        self._run.record(FilesStep.of(batch))
