"""An agent on any endpoint that speaks Chat Completions, through the official `openai` SDK.

The shape of requests and replies is `chat_format`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from hud._core.errors import AgentFault, InputError, bounded
from hud.agents import chat_format
from hud.agents.api_agent import ApiAgent
from hud.agents.tool_agent import RunState
from hud.agents.tools.base import AgentTool
from hud.agents.tools.browser import BrowserTool
from hud.agents.tools.computer import SCREEN_TOOLS
from hud.agents.tools.editor import EditTool, ReadFileTool
from hud.agents.tools.mcp import MCPTool
from hud.agents.tools.shell import BashTool
from hud.agents.types import OpenAIChatConfig, ToolAgentConfig
from hud.models.provider import OPENAI, Dialect, ModelProvider
from hud.trace.content import MCPToolCall, MCPToolResult, PromptMessage
from hud.trace.steps import AgentStep

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_OWN_ARGUMENTS = ("model", "messages", "stream", "tools")


class OpenAIChatAgent(ApiAgent[OpenAIChatConfig, dict[str, Any]]):
    """A model behind Chat Completions: OpenAI itself, a gateway, or a server of one's own.

    An empty answer and a refusal are answers. A reply cut by its token limit is one too, with
    stop reason `length`; a conversation the model cannot hold ends with `context_overflow`.

    Attributes:
        config: Model, endpoint and prompt; a task row's `agent_config` is laid over it.
        completion_kwargs: Sent with every request. A name the SDK has no argument for goes into
            the request's body as it is (`return_token_ids`, `top_k`).
    """

    config_cls = OpenAIChatConfig
    dialect = Dialect.CHAT
    provider = OPENAI
    sdk = "hud.agents.openai_sdk"
    tool_catalog = (BashTool, EditTool, ReadFileTool, *SCREEN_TOOLS, BrowserTool, MCPTool)

    def __init__(self, config: OpenAIChatConfig | None = None, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.completion_kwargs = dict(self.config.completion_kwargs)
        self.check_settings(self.config)

    @property
    def name(self) -> str:
        return "openai_compatible"

    @property
    def oai(self) -> AsyncOpenAI:
        """The client of the running event loop, shared by all agents on the same endpoint.

        Assign a client to use it instead; whoever made it closes it.

        Raises:
            InputError: when no endpoint is configured.
        """
        return self.client

    @oai.setter
    def oai(self, client: AsyncOpenAI) -> None:
        self.client = client

    def provider_of(self, config: ToolAgentConfig) -> ModelProvider:
        from hud.models.catalog import UnknownModel, resolve_model

        try:
            found = resolve_model(config.model)
        except UnknownModel:
            return OPENAI
        return found.provider if found.dialect is Dialect.CHAT else OPENAI

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        described["config"]["completion_kwargs"].pop("extra_headers", None)
        return described

    def check_settings(self, config: ToolAgentConfig) -> None:
        for name in _OWN_ARGUMENTS:
            if isinstance(config, OpenAIChatConfig) and name in config.completion_kwargs:
                raise InputError(f"completion_kwargs: {name!r} is set by the agent itself")

    async def get_response(
        self,
        state: RunState[dict[str, Any]],
        *,
        system_prompt: str | None = None,
        citations_enabled: bool = False,
    ) -> AgentStep:
        from hud.agents import openai_sdk

        config = state.config
        assert isinstance(config, OpenAIChatConfig)
        messages = state.messages
        if system_prompt is not None:
            messages = [{"role": "system", "content": system_prompt}, *messages]
        request: dict[str, Any] = {"model": config.model, "messages": messages}
        if state.params:
            request["tools"] = state.params
        request |= openai_sdk.request_arguments(self._completion_kwargs(config))
        if config.checkpoint is not None:
            request["extra_body"] = {
                **_mapping(request.get("extra_body")),
                "checkpoint": config.checkpoint,
            }
        headers = {
            **_mapping(request.pop("extra_headers", None)),
            **self.trace_headers(state.run),
        }
        arguments = {**request, "extra_headers": headers} if headers else request

        async def send(client: AsyncOpenAI) -> dict[str, Any]:
            try:
                body = await openai_sdk.complete(client, arguments)
            except (TypeError, ValueError) as error:
                raise AgentFault(
                    f"completion_kwargs cannot be sent: {bounded(str(error), 300)}"
                ) from error
            return chat_format.read_body(body, f"the model API at {self.endpoint.shown}")

        step = await self.ask(state, request, send, chat_format.read_completion)
        state.messages.append(chat_format.assistant_message(step))
        return step

    def format_prompt(self, messages: Sequence[PromptMessage]) -> list[dict[str, Any]]:
        return chat_format.chat_messages(messages)

    def format_results(
        self, calls: Sequence[MCPToolCall], results: Sequence[MCPToolResult]
    ) -> list[dict[str, Any]]:
        return chat_format.result_messages(calls, results)

    def format_tools(self, tools: dict[str, AgentTool[Any]], config: ToolAgentConfig) -> list[Any]:
        return [
            *(chat_format.function(tool) for tool in tools.values()),
            *(hosted.spec for hosted in config.hosted_tools),
        ]

    def trim(self, state: RunState[dict[str, Any]]) -> bool:
        return chat_format.trim(state.messages)

    def _completion_kwargs(self, config: OpenAIChatConfig) -> dict[str, Any]:
        if config is self.config:
            return self.completion_kwargs
        return {**self.completion_kwargs, **config.completion_kwargs}


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
