"""All tools of one run: bound to what its environment exposes, called, bounded, recorded.

What a tool does is its own file; when the model is asked is the loop's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from hud._core import json
from hud._core.errors import AgentFault, CapabilityFault, HudError, InputError, bounded
from hud.agents.run import Run
from hud.agents.tools.base import AgentTool, ToolContext, ToolError, ToolMaker, text_result
from hud.agents.types import ToolAgentConfig
from hud.protocol.capability import Capability
from hud.trace.clock import utc_now
from hud.trace.content import (
    ContentBlock,
    ImageContent,
    MCPToolCall,
    MCPToolResult,
    TextContent,
)
from hud.trace.steps import ToolStep

logger = logging.getLogger(__name__)

_FAILURES_IN_A_ROW = 3
# A desktop is the screen where there is a browser beside it, so it is bound first.
_ORDER = {"ssh": 0, "rfb": 1, "cdp": 2, "mcp": 3}
_NAME_AT_MOST = 64


class Toolbox:
    """The tools of one run.

    Attributes:
        tools: By the name the model calls them.
    """

    def __init__(self, run: Run, config: ToolAgentConfig) -> None:
        self.tools: dict[str, AgentTool[Any]] = {}
        self._run = run
        self._config = config
        self._failures: dict[str, int] = {}

    def add(self, tool: AgentTool[Any], capability: str, *, qualify: bool) -> None:
        """Take a tool in; one whose name is taken by another capability's is left out."""
        if qualify and tool.native_spec() is None:
            tool.name = f"{capability}__{tool.name}"[-_NAME_AT_MOST:]
        if tool.name in self.tools:
            logger.info(
                "tool %s of %s is left out: there is one of that name", tool.name, capability
            )
            return
        self.tools[tool.name] = tool

    async def call_all(self, calls: Sequence[MCPToolCall]) -> list[MCPToolResult]:
        """Carry out the calls of one turn and record each; results in the order of the calls.

        Those on one capability go one after the other, except on an MCP server; different
        capabilities work at the same time.

        Raises:
            CapabilityFault: when a capability failed three times in a row.
        """
        lanes: dict[str, list[int]] = {}
        for index, call in enumerate(calls):
            lanes.setdefault(self._lane(call, index), []).append(index)
        results: list[MCPToolResult | None] = [None] * len(calls)

        async def work(indexes: list[int]) -> None:
            failed: set[str] = set()
            for index in indexes:
                call = calls[index]
                result = await self._carry_out(call, is_left_out=call.name in failed)
                results[index] = result
                tool = self.tools.get(call.name)
                if result.isError and tool is not None and tool.stops_at_failure:
                    failed.add(call.name)

        if len(lanes) == 1:
            await work(next(iter(lanes.values())))
        else:
            await _together([work(indexes) for indexes in lanes.values()])
        return [cast("MCPToolResult", result) for result in results]

    def _lane(self, call: MCPToolCall, index: int) -> str:
        tool = self.tools.get(call.name)
        if tool is None or tool.protocol in ("", "mcp"):
            is_in_order = tool is not None and tool.stops_at_failure
            return f"\n{call.name}" if is_in_order else f"\n{index}"
        return tool.context.capability.name

    async def _carry_out(self, call: MCPToolCall, *, is_left_out: bool) -> MCPToolResult:
        started_at = utc_now()
        if is_left_out:
            result = _refused("not carried out, because an earlier action of this turn failed")
        else:
            result = self._bounded(await self._shown(call, await self._result_of(call)))
        result.call_id = call.id
        self._run.record(
            ToolStep(call=call, result=result, started_at=started_at, ended_at=utc_now())
        )
        return result

    async def _result_of(self, call: MCPToolCall) -> MCPToolResult:
        """Return what a call gave, or what the model has to be told instead."""
        tool = self.tools.get(call.name)
        if tool is None:
            known = ", ".join(self.tools) or "none"
            return _refused(f"there is no tool {bounded(call.name)!r}; there are: {known}")
        arguments = call.arguments if call.arguments is not None else {}
        if isinstance(arguments, str):
            return _refused(f"the arguments are no JSON object: {bounded(arguments, 300)}")
        limit_s = self._config.tool_timeout_seconds
        clock = asyncio.timeout(limit_s)
        try:
            async with clock:
                result = await tool.call(arguments)
        except ToolError as error:
            return _refused(str(error))
        except InputError as error:
            return _refused(error.message)
        except CapabilityFault as fault:
            return self._failed(tool, fault)
        except TimeoutError as error:
            if not clock.expired():
                raise AgentFault(f"tool {call.name} raised TimeoutError: {error}") from error
            return _refused(f"the tool did not answer within {limit_s:g} s")
        except HudError:
            raise
        except Exception as error:
            name = type(error).__qualname__
            raise AgentFault(
                f"tool {call.name} raised {name}: {bounded(str(error), 500)}"
            ) from error
        self._failures.pop(_source(tool), None)
        return result

    def _failed(self, tool: AgentTool[Any], fault: CapabilityFault) -> MCPToolResult:
        """Tell the model, until the same capability has failed three times in a row."""
        source = _source(tool)
        count = self._failures.get(source, 0) + 1
        if count >= _FAILURES_IN_A_ROW:
            raise fault
        self._failures[source] = count
        return _refused(f"this failed, and may work when tried again: {fault.message}")

    async def _shown(self, call: MCPToolCall, result: MCPToolResult) -> MCPToolResult:
        """Make pictures fit for a model's API, which would refuse the whole conversation."""
        tool = self.tools.get(call.name)
        if tool is None or tool.has_fit_pictures:
            return result
        if not any(isinstance(block, ImageContent) for block in result.content):
            return result
        from hud.agents.tools.pictures import fit

        content: list[ContentBlock] = [
            await fit(block) if isinstance(block, ImageContent) else block
            for block in result.content
        ]
        return result.model_copy(update={"content": content})

    def _bounded(self, result: MCPToolResult) -> MCPToolResult:
        """Leave the middle out of texts that are too long together."""
        limit = self._config.max_output_chars
        texts = [block for block in result.content if isinstance(block, TextContent)]
        if sum(len(block.text) for block in texts) <= limit:
            return result
        share = max(100, limit // len(texts))
        content: list[ContentBlock] = [
            TextContent(text=_shortened(block.text, share))
            if isinstance(block, TextContent)
            else block
            for block in result.content
        ]
        return result.model_copy(update={"content": content})

    async def close(self) -> None:
        """Close every tool."""
        for tool in self.tools.values():
            await tool.close()


@asynccontextmanager
async def open_toolbox(
    run: Run,
    config: ToolAgentConfig,
    catalog: Sequence[type[AgentTool[Any]]],
    own: Sequence[ToolMaker | Callable[..., Any]] = (),
) -> AsyncGenerator[Toolbox]:
    """Open what of a run's environment the catalog has tools for, and bind them.

    Several capabilities of one protocol are told apart by name, `<capability>__<tool>`.

    Raises:
        CapabilityFault: when a capability cannot be reached.
    """
    toolbox = Toolbox(run, config)
    rows = _usable(run, catalog) if catalog else []
    bound = await _together([_bind(run, config, row, catalog) for row in rows])
    per_family: dict[str, int] = {}
    for row in rows:
        per_family[row.family] = per_family.get(row.family, 0) + 1
    first: set[str] = set()
    for row, tools in zip(rows, bound, strict=True):
        several = per_family[row.family] > 1
        for tool in tools:
            if row.family in first and tool.native_spec() is not None:
                continue
            toolbox.add(tool, row.name, qualify=several)
        first.add(row.family)
    for maker in own:
        own_tool = (
            maker.make(run, config) if isinstance(maker, ToolMaker) else _function_tool(maker)
        )
        if own_tool is not None:
            toolbox.add(own_tool, "agent", qualify=False)
    try:
        yield toolbox
    finally:
        await toolbox.close()


def _usable(run: Run, catalog: Sequence[type[AgentTool[Any]]]) -> list[Capability]:
    wanted = {cls.protocol for cls in catalog}
    manifest = run.client.manifest if run.is_connected else None
    rows = [
        row
        for row in (manifest.bindings if manifest else [])
        if row.family in wanted or row.protocol in wanted
    ]
    return sorted(rows, key=lambda row: _ORDER.get(row.family, len(_ORDER)))


async def _bind(
    run: Run,
    config: ToolAgentConfig,
    row: Capability,
    catalog: Sequence[type[AgentTool[Any]]],
) -> list[AgentTool[Any]]:
    client = await run.client.open(row.name)
    context = ToolContext(run, row, config, config.model)
    tools: list[AgentTool[Any]] = []
    for cls in catalog:
        if cls.protocol in (row.family, row.protocol):
            tools.extend(await cls.bind(client, context))
    return tools


async def _together(works: Sequence[Any]) -> list[Any]:
    """Await all at once; the first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as error:
        raise error.exceptions[0] from None
    return [task.result() for task in tasks]


def _function_tool(fn: Callable[..., Any]) -> AgentTool[Any]:
    from hud.agents.tools.function import FunctionTool  # which loads the types of MCP

    return FunctionTool(fn)


def _source(tool: AgentTool[Any]) -> str:
    return tool.context.capability.name if tool.protocol else tool.name


def _refused(message: str) -> MCPToolResult:
    return text_result(f"Error: {message}", is_error=True)


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    left_out = len(text) - head - tail
    return f"{text[:head]}\n[… {left_out:,} characters left out …]\n{text[-tail:]}"


def decode_arguments(text: str | None) -> dict[str, Any] | str:
    """Read a call's arguments as a model wrote them; what is no JSON object stays text."""
    if text is None or not text.strip():
        return {}
    try:
        value = json.decode(text)
    except ValueError:
        return text
    return cast("dict[str, Any]", value) if isinstance(value, dict) else text
