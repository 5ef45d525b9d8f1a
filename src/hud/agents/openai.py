"""An agent on OpenAI's Responses API, through the official `openai` SDK.

The shape of requests is `responses_format`, that of replies `responses_reply`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hud._core import json
from hud._core.errors import AgentFault, bounded
from hud.agents import responses_format, responses_reply
from hud.agents.api_agent import ApiAgent
from hud.agents.setting import Setting
from hud.agents.tool_agent import RunState
from hud.agents.tools.apply_patch import ApplyPatchTool, OpenAIApplyPatchTool
from hud.agents.tools.base import AgentTool
from hud.agents.tools.browser import BROWSER_TOOLS
from hud.agents.tools.computer import ComputerTool, PageComputerTool
from hud.agents.tools.computer_openai import OpenAIComputerTool, OpenAIPageTool
from hud.agents.tools.editor import EditTool
from hud.agents.tools.mcp import MCPTool
from hud.agents.tools.shell import BashTool, OpenAIShellTool
from hud.agents.types import OpenAIConfig, ToolAgentConfig
from hud.models.catalog import ModelInfo, NativeTools, UnknownModel, resolve_model
from hud.models.provider import OPENAI, Dialect
from hud.trace.content import MCPToolCall, MCPToolResult, PromptMessage
from hud.trace.steps import AgentStep

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_SENT = ("max_output_tokens", "temperature", "reasoning", "text", "truncation")
_SENT_WITH_TOOLS = ("tool_choice", "parallel_tool_calls")
_MISSES_AT_MOST = 2

# What a model gets that does not know a native tool: the entry of the catalog, and the functions.
_INSTEAD: dict[type[AgentTool[Any]], tuple[str, tuple[type[AgentTool[Any]], ...]]] = {
    OpenAIShellTool: ("shell", (BashTool,)),
    OpenAIApplyPatchTool: ("editor", (EditTool, ApplyPatchTool)),
    OpenAIComputerTool: ("computer", (ComputerTool,)),
    OpenAIPageTool: ("computer", (PageComputerTool,)),
}


@dataclass(slots=True)
class _Stored:
    """How much of a conversation the API holds.

    Attributes:
        response_id: What the next request goes on from; None for nothing.
        count: How many items of the conversation that response holds.
        misses: How often the API did not know what it was to go on from.
    """

    response_id: str | None = None
    count: int = 0
    misses: int = 0

    @property
    def is_usable(self) -> bool:
        return self.response_id is not None and self.misses < _MISSES_AT_MOST


class OpenAIAgent(ApiAgent[OpenAIConfig, dict[str, Any]]):
    """A model behind the Responses API, with the tools it was trained on.

    A turn sends what is new and names the response before; where the API does not know that one,
    or with `store=False` always, it sends the whole conversation.

    An empty answer and a refusal are answers, also when it is the API that refuses what is said.
    A reply cut by its token limit is one too, with stop reason `length`; a conversation the model
    cannot hold ends with `context_overflow`.

    Attributes:
        config: Model and prompt; a task row's `agent_config` is laid over it.
        max_output_tokens, temperature, reasoning, tool_choice, parallel_tool_calls, text,
            truncation: The settings of that name.
    """

    config_cls = OpenAIConfig
    dialect = Dialect.RESPONSES
    provider = OPENAI
    sdk = "hud.agents.openai_sdk"
    tool_catalog = (
        OpenAIShellTool,
        OpenAIApplyPatchTool,
        OpenAIComputerTool,
        OpenAIPageTool,
        *BROWSER_TOOLS,
        MCPTool,
    )

    max_output_tokens = Setting[int | None]()
    temperature = Setting[float | None]()
    reasoning = Setting[Any]()
    tool_choice = Setting[Any]()
    parallel_tool_calls = Setting[bool | None]()
    text = Setting[Any]()
    truncation = Setting[Any]()

    @property
    def name(self) -> str:
        return "openai"

    @property
    def openai_client(self) -> AsyncOpenAI:
        """The client of the running event loop, shared by all agents on the same endpoint.

        Assign a client to use it instead; whoever made it closes it.

        Raises:
            InputError: when no endpoint is configured.
        """
        return self.client

    @openai_client.setter
    def openai_client(self, client: AsyncOpenAI) -> None:
        self.client = client

    def catalog(self, config: ToolAgentConfig) -> Sequence[type[AgentTool[Any]]]:
        known = _known(config.model)
        native = known.tools if known else NativeTools()
        chosen: list[type[AgentTool[Any]]] = []
        for tool in self.tool_catalog:
            entry, functions = _INSTEAD.get(tool, ("", ()))
            if functions and getattr(native, entry) is None:
                chosen.extend(functions)
            else:
                chosen.append(tool)
        return chosen

    async def get_response(
        self,
        state: RunState[dict[str, Any]],
        *,
        system_prompt: str | None = None,
        citations_enabled: bool = False,
    ) -> AgentStep:
        from hud.agents import openai_sdk

        config = state.config
        assert isinstance(config, OpenAIConfig)
        request = self._request(state, config, system_prompt)
        headers = self.trace_headers(state.run)
        where = f"the model API at {self._endpoint_of_run().shown}"
        stored: _Stored = state.memory.setdefault("stored", _Stored())
        reply: dict[str, Any] = {}

        async def send_one(client: AsyncOpenAI, body: dict[str, Any]) -> dict[str, Any]:
            try:
                answer = await openai_sdk.respond(client, body, headers)
            except (TypeError, ValueError) as error:
                raise AgentFault(
                    f"the settings cannot be sent: {bounded(str(error), 300)}"
                ) from error
            return responses_reply.read_body(answer, where)

        async def send_new(client: AsyncOpenAI) -> dict[str, Any] | None:
            """Send what is new; None where the API does not know what it goes on from."""
            new = state.messages[stored.count :]
            short = {**request, "input": new, "previous_response_id": stored.response_id}
            try:
                answer = await send_one(client, short)
            except Exception as error:
                failure = openai_sdk.read_failure(error)
                if failure is None or not responses_reply.is_unknown_response(failure):
                    raise
                stored.misses += 1
                return None
            if answer.get("previous_response_id"):
                return answer
            stored.misses = _MISSES_AT_MOST  # it read what is new alone, as if there were no more
            return None

        async def send(client: AsyncOpenAI) -> dict[str, Any]:
            try:
                answer = await send_new(client) if stored.is_usable else None
                return answer or await send_one(client, request)
            except Exception as error:
                failure = openai_sdk.read_failure(error)
                has_results = responses_format.has_results(state.messages)
                refused = failure and responses_reply.refusal_of(failure, has_results=has_results)
                if not refused:
                    raise
                return refused

        def read(body: dict[str, Any], where: str) -> AgentStep:
            reply.update(body)
            return responses_reply.read_response(body, where, citations_enabled=citations_enabled)

        step = await self.ask(state, request, send, read)
        state.messages.extend(responses_reply.echoed(reply["output"]))
        response_id = reply.get("id")
        can_go_on = config.store and isinstance(response_id, str) and bool(response_id)
        stored.response_id = cast("str", response_id) if can_go_on else None
        stored.count = len(state.messages)
        return step

    def format_prompt(self, messages: Sequence[PromptMessage]) -> list[dict[str, Any]]:
        return responses_format.prompt_items(messages)

    def format_results(
        self, calls: Sequence[MCPToolCall], results: Sequence[MCPToolResult]
    ) -> list[dict[str, Any]]:
        return responses_format.result_items(calls, results)

    def format_tools(self, tools: dict[str, AgentTool[Any]], config: ToolAgentConfig) -> list[Any]:
        return [
            *(tool.native_spec() or responses_format.function(tool) for tool in tools.values()),
            *(hosted.spec for hosted in config.hosted_tools),
        ]

    def trim(self, state: RunState[dict[str, Any]]) -> bool:
        stored = state.memory.get("stored")
        if stored is not None:
            stored.response_id = None
        return responses_format.trim(state.messages)

    def _request(
        self, state: RunState[dict[str, Any]], config: OpenAIConfig, system_prompt: str | None
    ) -> dict[str, Any]:
        """Return what is asked: the whole conversation."""
        request: dict[str, Any] = {
            "model": config.model,
            "input": state.messages,
            "store": config.store,
        }
        if system_prompt is not None:
            request["instructions"] = system_prompt
        names = _SENT
        if state.params:
            request["tools"] = state.params
            names += _SENT_WITH_TOOLS
        for name in names:
            if (value := getattr(config, name)) is not None:
                request[name] = _plain(name, value)
        if any(tool.get("type") == "computer_use_preview" for tool in state.params):
            request.setdefault("truncation", "auto")  # which that model's API insists on
        if config.prompt_cache_key is not None:
            request["prompt_cache_key"] = config.prompt_cache_key
        elif state.run is not None:
            if "cache_key" not in state.memory:
                state.memory["cache_key"] = responses_format.cache_key(state.run)
            request["prompt_cache_key"] = state.memory["cache_key"]
        if not config.store and _reasons(config):
            request["include"] = ["reasoning.encrypted_content"]
        return request


def _known(model: str) -> ModelInfo | None:
    try:
        return resolve_model(model)
    except UnknownModel:
        return None


def _reasons(config: OpenAIConfig) -> bool:
    """Whether a model is known to think: the API refuses to seal what others do not have."""
    known = _known(config.model)
    return config.reasoning is not None or bool(known and known.reasoning)


def _plain(name: str, value: Any) -> Any:
    """Return a setting as JSON has it: the SDK's own types can be given too.

    Raises:
        AgentFault: when it has no such form.
    """
    dump = getattr(value, "model_dump", None)
    try:
        if dump is not None:
            return dump(mode="json", by_alias=True, exclude_none=True)
        return json.decode(json.encode(value))
    except (TypeError, ValueError) as error:
        raise AgentFault(f"setting {name} is no JSON: {bounded(str(error), 300)}") from error
