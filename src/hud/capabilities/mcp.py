"""The client of an MCP server: list its tools, call them, read its resources and prompts.

Everything a server says is untrusted data and returned as such. The session behind it, which
needs the MCP SDK, is `mcp_session` and is loaded on the first connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from hud._core import redact
from hud._core.errors import CapabilityFault, InputError, bounded
from hud.capabilities.base import CapabilityClient
from hud.protocol.capability import MCP, Capability
from hud.trace.content import EmbeddedResource, MCPToolResult, PromptMessage, TextContent
from hud.trace.context import current_trace_id

if TYPE_CHECKING:
    from mcp.types import Request

    from hud.capabilities.mcp_session import Session

TRACE_ID_META = "hud/trace-id"
"""Key of a call's `_meta` under which the server learns which trace it belongs to."""

LIST_TIMEOUT_S = 60.0
MAX_LISTED = 10_000
MAX_PAGES = 1_000

R = TypeVar("R", bound=BaseModel)
T = TypeVar("T", bound=BaseModel)


class _Described(BaseModel):
    """What the entries of all lists share; names are spelled as the protocol spells them."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    name: str
    title: str | None = None
    description: str | None = None
    meta: dict[str, Any] | None = Field(
        default=None, validation_alias=AliasChoices("_meta", "meta"), serialization_alias="_meta"
    )


class Tool(_Described):
    """A tool as its server describes it: a name, untrusted text, and the schema of arguments."""

    inputSchema: dict[str, Any]
    outputSchema: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None


class Resource(_Described):
    """Something a server lets be read, by uri."""

    uri: str
    mimeType: str | None = None
    size: int | None = None


class Prompt(_Described):
    """A prompt a server offers; `arguments` are `{"name", "description"?, "required"?}`."""

    arguments: list[dict[str, Any]] | None = None


class _Page(BaseModel, Generic[T]):
    nextCursor: str | None = None

    def entries(self) -> list[T]:
        raise NotImplementedError


class _Tools(_Page[Tool]):
    tools: list[Tool]

    def entries(self) -> list[Tool]:
        return self.tools


class _Resources(_Page[Resource]):
    resources: list[Resource]

    def entries(self) -> list[Resource]:
        return self.resources


class _Prompts(_Page[Prompt]):
    prompts: list[Prompt]

    def entries(self) -> list[Prompt]:
        return self.prompts


class _Contents(BaseModel):
    contents: list[dict[str, Any]]


class _Messages(BaseModel):
    messages: list[PromptMessage]


class MCPClient(CapabilityClient):
    """A live session with the MCP server of a row; calls may overlap.

    A tool that fails is a result with `isError`; a connection that breaks is a `CapabilityFault`,
    and every later call on this client is one too.
    """

    protocol = MCP

    def __init__(self, capability: Capability, session: Session) -> None:
        self.capability = capability
        self._session = session

    @classmethod
    async def connect(cls, cap: Capability, *, connect_timeout_s: float = 30.0) -> Self:
        # The SDK takes most of a second to import, and most environments expose no tools.
        from hud.capabilities.mcp_session import Session

        token: Any = cap.params.get("auth_token")
        # What has a key's shape is found by it, and registering costs for the life of the process.
        if isinstance(token, str) and redact.redact(token) == token:
            redact.register_secret(token)
        return cls(cap, await Session.open(cap, connect_timeout_s))

    @property
    def has_new_tools(self) -> bool:
        """Whether the server announced other tools since `list_tools` was last called."""
        return self._session.has_new_tools

    async def list_tools(self) -> list[Tool]:
        """Return all tools the server has now, in its order.

        Raises:
            CapabilityFault: when the connection breaks, or the list has no end.
        """
        from mcp.types import ListToolsRequest, PaginatedRequestParams

        self._session.has_new_tools = False
        return await self._list(
            lambda at: ListToolsRequest(params=PaginatedRequestParams(cursor=at)), _Tools
        )

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> MCPToolResult:
        """Call a tool and return what it answered.

        An unknown tool, wrong arguments, a tool that raised, a result too large and a time limit
        that passed are all results with `isError`: the model may try something else. Cancelling
        the call cancels it on the server, and so does the time limit.

        Raises:
            CapabilityFault: when the connection breaks.
        """
        from mcp.types import CallToolRequest, CallToolRequestParams

        from hud.capabilities.mcp_session import Rejected

        trace_id = current_trace_id()
        params = CallToolRequestParams.model_validate(
            {
                "name": name,
                "arguments": dict(arguments or {}),
                "_meta": None if trace_id is None else {TRACE_ID_META: trace_id},
            }
        )
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                return await self._session.request(CallToolRequest(params=params), MCPToolResult)
        except Rejected as error:
            return _failed(error.message)
        except TimeoutError:
            if not limit.expired():
                raise self._fault("a request could not be written in time") from None
            return _failed(f"tool {bounded(name)!r} gave no answer within {timeout_s:g} s")

    async def list_resources(self) -> list[Resource]:
        """Return all resources the server lists; none when it serves none.

        Raises:
            CapabilityFault: when the connection breaks, or the list has no end.
        """
        from mcp.types import ListResourcesRequest, PaginatedRequestParams

        if not self._session.serves("resources"):
            return []
        return await self._list(
            lambda at: ListResourcesRequest(params=PaginatedRequestParams(cursor=at)), _Resources
        )

    async def read_resource(self, uri: str) -> list[EmbeddedResource]:
        """Return the contents of a resource; `blob` in one is base64.

        Raises:
            InputError: when the server has no such resource or does not give it.
            CapabilityFault: when the connection breaks.
        """
        from mcp.types import ReadResourceRequest, ReadResourceRequestParams

        request = ReadResourceRequest(params=ReadResourceRequestParams(uri=uri))
        found = await self._asked(f"resource {bounded(uri)!r}", request, _Contents)
        return [EmbeddedResource(resource=content) for content in found.contents]

    async def list_prompts(self) -> list[Prompt]:
        """Return all prompts the server offers; none when it serves none.

        Raises:
            CapabilityFault: when the connection breaks, or the list has no end.
        """
        from mcp.types import ListPromptsRequest, PaginatedRequestParams

        if not self._session.serves("prompts"):
            return []
        return await self._list(
            lambda at: ListPromptsRequest(params=PaginatedRequestParams(cursor=at)), _Prompts
        )

    async def get_prompt(
        self, name: str, arguments: Mapping[str, str] | None = None
    ) -> list[PromptMessage]:
        """Return the messages of a prompt.

        Raises:
            InputError: when the server has no such prompt or refuses the arguments.
            CapabilityFault: when the connection breaks.
        """
        from mcp.types import GetPromptRequest, GetPromptRequestParams

        params = GetPromptRequestParams(name=name, arguments=dict(arguments or {}))
        request = GetPromptRequest(params=params)
        return (await self._asked(f"prompt {bounded(name)!r}", request, _Messages)).messages

    async def close(self) -> None:
        await self._session.close()

    async def _list(
        self, page_at: Callable[[str | None], Request[Any, Any]], page_type: type[_Page[T]]
    ) -> list[T]:
        from hud.capabilities.mcp_session import Rejected

        found: list[T] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(LIST_TIMEOUT_S):
                for _ in range(MAX_PAGES):
                    page = await self._session.request(page_at(cursor), page_type)
                    found += page.entries()
                    cursor = page.nextCursor
                    if not cursor:
                        return found
                    if len(found) > MAX_LISTED:
                        break
        except Rejected as error:
            if error.is_unknown_method:
                return []
            raise self._fault(f"does not list: {bounded(error.message, 400)}") from error
        except TimeoutError:
            raise self._fault(f"gave no list within {LIST_TIMEOUT_S:g} s") from None
        raise self._fault(f"lists without end ({len(found)} entries so far)")

    async def _asked(self, what: str, request: Request[Any, Any], result_type: type[R]) -> R:
        from hud.capabilities.mcp_session import Rejected

        try:
            return await self._session.request(request, result_type)
        except Rejected as error:
            raise InputError(
                f"capability {self.capability.name!r} does not give {what}: "
                f"{bounded(error.message, 400)}"
            ) from error

    def _fault(self, what: str) -> CapabilityFault:
        return CapabilityFault(f"capability {self.capability.name!r}: the mcp server {what}")


def _failed(message: str) -> MCPToolResult:
    return MCPToolResult(content=[TextContent(text=message)], isError=True)
