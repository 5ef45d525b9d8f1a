"""Python functions served as MCP tools for as long as an environment runs.

They run in the environment's own process, so an agent reaches what they do and nothing else. No
port is opened: connections are socket pairs that `dial` hands out.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import mcp.types as wire
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.session import ServerSession
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from hud._core.errors import CapabilityFault, bounded
from hud._core.http_sockets import SocketServer
from hud._version import __version__
from hud.environment.daemon import Daemon
from hud.environment.tools_function import ToolFunction
from hud.environment.tools_http import CALLS, MAX_BODY_BYTES, Calls, Guard
from hud.environment.tools_results import failed
from hud.protocol.capability import Capability

MAX_CALLS = 64
MAX_SESSIONS = 4_096
STOP_GRACE_S = 5.0
_PATH = "/mcp"

# The SDK logs failed requests; without this, Python prints them where nobody set up logging.
logging.getLogger("mcp").addHandler(logging.NullHandler())
logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
Context = ServerRequestContext[Any, Any]


class ToolServer(Daemon):
    """One MCP server, named as its capability, whose tools are Python functions.

    Tools may be added and removed while it serves; connected clients are told.
    """

    is_exclusive = False

    def __init__(self, name: str = "tools", *, instructions: str | None = None) -> None:
        super().__init__(name)
        self._instructions = instructions
        self._functions: dict[str, ToolFunction] = {}
        self._serving: _Serving | None = None
        self._episodes = 0

    @property
    def tools(self) -> list[str]:
        """Names of the tools, in the order they were added."""
        return list(self._functions)

    def add(self, fn: F, *, name: str | None = None, description: str = "") -> F:
        """Serve a function, async or not, as a tool, and return it.

        Args:
            name: Name of the tool; the function's own otherwise.
            description: What models read; the docstring otherwise.

        Raises:
            TypeError: when it is no function whose parameters all have names.
            ValueError: when the name is taken, or not one that models can call.
        """
        function = ToolFunction(fn, name=name, description=description)
        if function.name in self._functions:
            raise ValueError(f"tool server {self.name!r} has two tools {function.name!r}")
        self._functions[function.name] = function
        self._changed()
        return fn

    def remove(self, name: str) -> None:
        """Stop serving a tool; calls to it that run already go on.

        Raises:
            KeyError: when there is none of that name.
        """
        del self._functions[name]
        self._changed()

    def _changed(self) -> None:
        if self._serving is not None:
            self._serving.announce()

    async def start(self) -> None:
        for function in self._functions.values():
            try:
                function.definition()
            except TypeError as error:
                raise CapabilityFault(
                    f"tool server {self.name!r}: {function.name}: {error}"
                ) from error
        if self._serving is None:
            self._episodes = 1  # the first one is not announced
            self._serving = await _Serving.begin(self.name, self._functions, self._instructions)

    async def stop(self) -> None:
        serving, self._serving = self._serving, None
        if serving is not None:
            await serving.end()

    def capability(self) -> Capability:
        # Nothing listens on the discard port: whoever does not ask `dial` finds nobody.
        return Capability.mcp(
            name=self.name,
            url=f"http://127.0.0.1:9{_PATH}",
            auth_token=self._live().token,
            transport="streamable-http",
        )

    async def dial(self) -> socket.socket:
        return await self._live().http.connect()

    async def begin_episode(self) -> None:
        self._episodes += 1
        self._live().http.open()

    async def hand_over(self) -> None:
        self._live().http.open()

    async def end_episode(self) -> None:
        """Cancel the calls that run and cut all connections, once no other episode uses them.

        A sync function goes on by itself: a thread cannot be stopped.
        """
        others, self._episodes = self._episodes - 1, max(0, self._episodes - 1)
        if self._serving is not None and others <= 0:
            await self._serving.http.cut("the agent's part of the episode is over")

    def _live(self) -> _Serving:
        if self._serving is None:
            raise CapabilityFault(f"tool server {self.name!r} is not started")
        return self._serving


class _Server(Server[Any]):
    """The SDK's server, which also says that its tools may change."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        return super().create_initialization_options(
            notification_options or NotificationOptions(tools_changed=True),
            experimental_capabilities,
            extensions,
        )


class _Serving:
    """What runs between a start and a stop; the SDK's parts cannot be started twice."""

    def __init__(
        self, name: str, functions: dict[str, ToolFunction], instructions: str | None
    ) -> None:
        # Of the shape of a key, so that it is redacted wherever it turns up.
        self.token = f"hud_tools_{secrets.token_hex(24)}"
        self._functions = functions
        self._loop = asyncio.get_running_loop()
        self._calls = asyncio.Semaphore(MAX_CALLS)
        self._threads = asyncio.Semaphore(MAX_CALLS)
        self._listeners: dict[str, ServerSession] = {}
        self._telling: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        server = _Server(
            name,
            version=__version__,
            instructions=instructions,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )
        self._manager = StreamableHTTPSessionManager(
            server, max_request_body_size=MAX_BODY_BYTES, max_sessions=MAX_SESSIONS
        )
        guard = Guard(self._manager.handle_request, path=_PATH, token=self.token)
        self.http = SocketServer(guard)

    @classmethod
    async def begin(
        cls, name: str, functions: dict[str, ToolFunction], instructions: str | None
    ) -> _Serving:
        serving = cls(name, functions, instructions)
        ready = asyncio.Event()
        serving._owner = asyncio.create_task(serving._run(ready), name=f"tool server {name}")
        try:
            await ready.wait()
            if serving._owner.done():
                serving._owner.result()
        except BaseException:
            await serving.end()
            raise
        return serving

    async def _run(self, ready: asyncio.Event) -> None:
        """Hold the SDK's task group, which must be left by the task that entered it."""
        try:
            async with self._manager.run():
                ready.set()
                await self._stopping.wait()
        finally:
            ready.set()

    async def end(self) -> None:
        """Cut all connections, cancel what runs, and wait for it, but not for ever."""
        # In this order: a call that is cancelled with its connection ends at once, one that is
        # cancelled with the session tries to answer first.
        await self.http.cut("the environment has stopped")
        self._stopping.set()
        left = {task for task in (self._owner, self._telling) if task is not None}
        if left:
            _, late = await asyncio.wait(left, timeout=STOP_GRACE_S)
            for task in late:
                logger.warning("%s still runs %g s after its end", task.get_name(), STOP_GRACE_S)
                task.cancel()

    async def _list(
        self, ctx: Context, params: wire.PaginatedRequestParams | None
    ) -> wire.ListToolsResult:
        self._remember(ctx)
        return wire.ListToolsResult(
            tools=[function.definition() for function in self._functions.values()]
        )

    async def _call(self, ctx: Context, params: wire.CallToolRequestParams) -> wire.CallToolResult:
        function = self._functions.get(params.name)
        if function is None:
            known = ", ".join(self._functions) or "none"
            return failed(f"no tool {bounded(params.name)!r}; there are: {bounded(known, 1_000)}")
        calls: Any = None if ctx.request is None else ctx.request.scope.get(CALLS)
        with (calls if isinstance(calls, Calls) else Calls()).running():
            async with self._calls:
                return await function.call(params.arguments or {}, self._threads)
        return failed("cancelled: the connection that asked is gone")

    def _remember(self, ctx: Context) -> None:
        """Keep who listed the tools, to tell them when others come; the oldest is forgotten."""
        key = None if ctx.request is None else ctx.request.headers.get("mcp-session-id")
        if key is None:
            return
        self._listeners.pop(key, None)
        self._listeners[key] = ctx.session
        if len(self._listeners) > MAX_SESSIONS:
            del self._listeners[next(iter(self._listeners))]

    def announce(self) -> None:
        """Tell connected clients to list the tools again; may be called from a tool's thread."""
        self._loop.call_soon_threadsafe(self._begin_telling)

    def _begin_telling(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = self._loop.create_task(self._tell(), name="telling of new tools")

    async def _tell(self) -> None:
        for session in list(self._listeners.values()):
            if self._stopping.is_set():
                return
            await session.send_tool_list_changed()
