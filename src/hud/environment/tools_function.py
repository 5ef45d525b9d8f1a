"""One Python function as an MCP tool: its schema, its arguments, and running it.

Serving tools is `tools`; what becomes of a returned value is `tools_results`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import mcp.types as wire

from hud._core.errors import InputError, bounded
from hud.environment.arguments import Arguments
from hud.environment.tools_results import failed, raised, result_of

# What every provider accepts as the name of a function.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ToolFunction:
    """A function and how it is shown to models.

    Attributes:
        name: Name of the tool.
        is_async: Whether it runs on the event loop; a sync function gets a thread.
    """

    def __init__(
        self, fn: Callable[..., Any], *, name: str | None = None, description: str = ""
    ) -> None:
        """Check the function; its annotations are looked at when they are first needed.

        Raises:
            TypeError: when it is no function whose parameters all have names.
            ValueError: when the name is not one that models can call.
        """
        if not callable(fn) or inspect.isclass(fn) or isinstance(fn, functools.partial):
            raise TypeError(f"{bounded(cast('object', fn))}: a tool is a function")
        self.name = name or getattr(fn, "__name__", "")
        if not inspect.isroutine(fn):
            fn = fn.__call__
        if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
            raise TypeError(f"{fn.__qualname__}: a tool returns its result, it does not yield")
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(
                f"{bounded(self.name)!r} is no name for a tool: letters, digits, _ and -, "
                "64 at most"
            )
        self.is_async = inspect.iscoroutinefunction(fn)
        self._fn = fn
        self._description = description or inspect.getdoc(fn) or ""
        self._arguments = Arguments(fn)

    def definition(self) -> wire.Tool:
        """Return what `tools/list` shows.

        Raises:
            TypeError: when an annotation cannot be resolved.
        """
        return wire.Tool(
            name=self.name,
            description=self._description,
            input_schema=self._arguments.schema(),
        )

    async def call(
        self, arguments: Mapping[str, Any], threads: asyncio.Semaphore
    ) -> wire.CallToolResult:
        """Run the function and return its result, errors included.

        Cancelling it cancels an async function. A sync one cannot be stopped: its thread, which
        does not hold up the end of the process, runs to its end, and counts against `threads`.
        """
        try:
            given = self._arguments.coerce(arguments)
        except InputError as error:
            return raised(error)
        try:
            if self.is_async:
                value = await self._fn(**given)
            else:
                value = await _in_thread(self.name, lambda: self._fn(**given), threads)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return raised(error)
        except (Exception, SystemExit) as error:
            return raised(error)
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            return failed(f"tool {self.name!r} returned an awaitable: declare it with async def")
        return result_of(self.name, value)


async def _in_thread(name: str, call: Callable[[], Any], threads: asyncio.Semaphore) -> Any:
    """Run `call` in a daemon thread, in this task's context; `threads` bounds how many run."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        threads.release()
        if done.done():
            return
        if isinstance(error, StopIteration):
            error = RuntimeError(f"tool {name!r} raised StopIteration")
        if error is None:
            done.set_result(value)
        else:
            done.set_exception(error)

    def work() -> None:
        value: Any = None
        failure: BaseException | None = None
        try:
            value = context.run(call)
        except BaseException as error:  # raised where it is awaited
            failure = error
        with suppress(RuntimeError):  # the loop was closed in the meantime
            loop.call_soon_threadsafe(settle, value, failure)

    await threads.acquire()
    try:
        threading.Thread(target=work, name=f"tool {name}", daemon=True).start()
    except BaseException:
        threads.release()
        raise
    return await done
