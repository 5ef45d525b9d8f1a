"""The agent that is a person: the prompt goes to the terminal, the answer is read from it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from typing import TextIO

from hud._core.errors import RolloutCancelled
from hud.agents.base import Agent
from hud.agents.run import Run
from hud.trace.clock import utc_now
from hud.trace.content import TextContent
from hud.trace.steps import AgentStep

_FENCE = '"""'


class HumanAgent(Agent):
    """Ask a person, one run at a time.

    An answer is one line. A line of three quotes opens a longer one, which ends at the next such
    line or at the end of input. End of input instead of an answer cancels the run.

    Args:
        stdin: Where answers come from; standard input otherwise.
        stderr: Where prompts go; standard error otherwise.
    """

    def __init__(self, stdin: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self._lines = _Lines(stdin)
        self._out = stderr
        self._turn = asyncio.Lock()

    @property
    def name(self) -> str:
        return "human"

    async def __call__(self, run: Run) -> None:
        async with self._turn:
            started_at = utc_now()
            self._show(_question(run))
            answer = await self._read_answer()
        run.record(AgentStep(content=answer, done=True, model="human", started_at=started_at))
        run.trace.content = answer
        run.trace.stop_reason = "done"

    async def _read_answer(self) -> str:
        line = await self._lines.read()
        if not line:
            raise RolloutCancelled("the person at the terminal hung up")
        text = line.removesuffix("\n")
        if text.strip() != _FENCE:
            return text
        block: list[str] = []
        while (line := await self._lines.read()) and line.strip() != _FENCE:
            block.append(line)
        return "".join(block).removesuffix("\n")

    def _show(self, text: str) -> None:
        out = self._out or sys.stderr
        out.write(text)
        out.flush()


class _Lines:
    """Lines of a stream, awaited without blocking the event loop.

    A read cannot be called off: one whose asker was cancelled stays under way in its daemon
    thread, and its line goes to whoever asks next.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._mutex = threading.Lock()
        self._reading = False
        self._asker: tuple[asyncio.AbstractEventLoop, asyncio.Future[str]] | None = None

    async def read(self) -> str:
        """Return the next line with its end, or an empty text at the end of input."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        with self._mutex:
            self._asker = (loop, future)
            start, self._reading = not self._reading, True
        if start:
            threading.Thread(target=self._read_one, name="hud-human", daemon=True).start()
        return await future

    def _read_one(self) -> None:
        line = ""
        with contextlib.suppress(OSError, ValueError):  # closed, or no terminal
            line = (self._stream or sys.stdin).readline()
        with self._mutex:
            self._reading = False
            asker, self._asker = self._asker, None
        if asker is not None:
            loop, future = asker
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_deliver, future, line)


def _deliver(future: asyncio.Future[str], line: str) -> None:
    if not future.done():
        future.set_result(line)


def _question(run: Run) -> str:
    parts = [
        message.content.text
        if isinstance(message.content, TextContent)
        else f"[{message.content.type} that a terminal cannot show]"
        for message in run.prompt_messages
    ]
    rule = f"── {run.slug or run.task_id} "
    body = _harmless("\n\n".join(parts))
    hint = f"(one line, or {_FENCE} on a line of its own around several)"
    return f"\n{_harmless(rule)}{'─' * max(0, 60 - len(rule))}\n{body}\n{hint}\n> "


def _harmless(text: str) -> str:
    """Return text without the control characters that steer a terminal."""
    return "".join(char for char in text if char in "\n\t" or char.isprintable())
