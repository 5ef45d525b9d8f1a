"""An agent on Gemini's generateContent, through the official `google-genai` SDK.

The shape of requests is `gemini_format`, that of replies `gemini_reply`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hud._core.errors import AgentFault, Fault, HudError, ModelFault, bounded
from hud.agents import gemini_format, gemini_reply
from hud.agents.api_agent import ApiAgent
from hud.agents.gemini_format import Content
from hud.agents.setting import Setting
from hud.agents.tool_agent import RunState
from hud.agents.tools.base import AgentTool
from hud.agents.tools.browser import BrowserTool
from hud.agents.tools.computer import SCREEN_TOOLS
from hud.agents.tools.computer_gemini import GEMINI_SCREEN_TOOLS, GeminiComputerTool
from hud.agents.tools.editor import EditTool
from hud.agents.tools.mcp import MCPTool
from hud.agents.tools.shell import BashTool
from hud.agents.types import GeminiConfig, ToolAgentConfig
from hud.models.catalog import ModelInfo, UnknownModel, resolve_model
from hud.models.endpoint import Endpoint
from hud.models.failure import ContextOverflow
from hud.models.provider import GOOGLE, Dialect
from hud.trace.content import ImageContent, MCPToolCall, MCPToolResult, PromptMessage
from hud.trace.steps import AgentStep, Step

if TYPE_CHECKING:
    from google.genai import Client

_SCREENS = ("rfb", "cdp")
_CONTINUATIONS_AT_MOST = 20


@dataclass(slots=True)
class _Looked:
    """What is known of a conversation.

    Attributes:
        predefined: Tools that the API declares itself, as the API spells them.
        screens: Tools whose pictures are of a screen, as the API spells them.
        own_names: Tools by how the API spells them.
        count: How many messages were looked at.
        pictured: Which of them show a screen, oldest first.
    """

    predefined: dict[str, GeminiComputerTool] = field(default_factory=dict[str, GeminiComputerTool])
    screens: set[str] = field(default_factory=set[str])
    own_names: dict[str, str] = field(default_factory=dict[str, str])
    count: int = 0
    pictured: deque[int] = field(default_factory=deque[int])


class GeminiAgent(ApiAgent[GeminiConfig, dict[str, Any]]):
    """A model behind generateContent, with its own computer tool where it has one.

    An empty answer, a blocked prompt and an answer that is withheld are answers. A reply cut by
    its token limit is one too, with stop reason `length`; a conversation the model cannot hold
    ends with `context_overflow`. A call the API could not read goes back to the model.

    Pictures of a screen stay in the conversation for as many turns as the settings say. What the
    computer tool wants confirmed is confirmed: nobody sits beside a run.

    Attributes:
        config: Model and prompt; a task row's `agent_config` is laid over it.
        temperature, top_p, top_k, max_output_tokens, thinking_level, include_thoughts,
            excluded_predefined_functions, max_recent_turn_with_screenshots: The settings of that
            name.
    """

    config_cls = GeminiConfig
    dialect = Dialect.GEMINI
    provider = GOOGLE
    sdk = "hud.agents.google_sdk"
    tool_catalog = (BashTool, EditTool, *GEMINI_SCREEN_TOOLS, BrowserTool, MCPTool)

    temperature = Setting[float | None]()
    top_p = Setting[float | None]()
    top_k = Setting[int | None]()
    max_output_tokens = Setting[int | None]()
    thinking_level = Setting[str | None]()
    include_thoughts = Setting[bool]()
    excluded_predefined_functions = Setting[list[str]]()
    max_recent_turn_with_screenshots = Setting[int]()

    @property
    def name(self) -> str:
        return "gemini"

    @property
    def gemini_client(self) -> Client:
        """The client of the running event loop, shared by all agents on the same endpoint.

        Assign a client to use it instead; whoever made it closes it.

        Raises:
            InputError: when no endpoint is configured.
        """
        return self.client

    @gemini_client.setter
    def gemini_client(self, client: Client) -> None:
        self.client = client

    def catalog(self, config: ToolAgentConfig) -> Sequence[type[AgentTool[Any]]]:
        known = _known(config.model)
        if known is not None and known.tools.computer is not None:
            return self.tool_catalog
        replaced = dict(zip(GEMINI_SCREEN_TOOLS, SCREEN_TOOLS, strict=True))
        return [replaced.get(kind, kind) for kind in self.tool_catalog]

    async def get_response(
        self,
        state: RunState[dict[str, Any]],
        *,
        system_prompt: str | None = None,
        citations_enabled: bool = False,
    ) -> AgentStep:
        from hud.agents import google_sdk

        await self._look(state)
        while True:
            try:
                return await self._ask_once(state, system_prompt, cites=citations_enabled)
            except ContextOverflow:
                raise
            except ModelFault as fault:
                if not google_sdk.refuses_picture(fault.__cause__):
                    raise
                if not gemini_format.refuse_new_pictures(state.messages):
                    raise

    def format_prompt(self, messages: Sequence[PromptMessage]) -> list[dict[str, Any]]:
        return gemini_format.contents(messages)

    def format_results(
        self, calls: Sequence[MCPToolCall], results: Sequence[MCPToolResult]
    ) -> list[dict[str, Any]]:
        return [gemini_format.results(calls, results)]

    def format_tools(self, tools: dict[str, AgentTool[Any]], config: ToolAgentConfig) -> list[Any]:
        return gemini_format.declared(tools, config.hosted_tools)

    def trim(self, state: RunState[dict[str, Any]]) -> bool:
        return gemini_format.trim(state.messages)

    async def _ask_once(
        self, state: RunState[dict[str, Any]], system_prompt: str | None, *, cites: bool
    ) -> AgentStep:
        from hud.agents import google_sdk

        config = state.config
        assert isinstance(config, GeminiConfig)
        body = self._body(state, config, system_prompt)
        headers = self.trace_headers(state.run)
        where = f"the model API at {self._endpoint_of_run().shown}"
        content: Content | None = None

        async def send_one(client: Client, body: dict[str, Any]) -> dict[str, Any]:
            try:
                answer = await google_sdk.generate(client, config.model, body, headers)
            except (TypeError, ValueError) as error:
                if google_sdk.read_failure(error) is not None:
                    raise
                raise AgentFault(
                    f"the request cannot be sent: {bounded(str(error), 300)}"
                ) from error
            return gemini_reply.read_body(answer, where)

        async def send(client: Client) -> dict[str, Any]:
            reply = await send_one(client, body)
            for _ in range(_CONTINUATIONS_AT_MOST):
                token = gemini_reply.goes_on_with(reply)
                if token is None:
                    break
                rest = await send_one(client, {**body, "continuationToken": token})
                reply = gemini_reply.joined(reply, rest)
            return reply

        def read(reply: dict[str, Any], where: str) -> AgentStep:
            nonlocal content
            content, step = gemini_reply.read_reply(reply, where, citations_enabled=cites)
            return step

        step = await self.ask(state, {"model": config.model, **body}, send, read)
        looked = _looked_at(state)
        for call in step.tool_calls:
            call.name = looked.own_names.get(call.name, call.name)
        if content is not None:
            state.messages.append(content)
        return step

    def _body(
        self, state: RunState[dict[str, Any]], config: GeminiConfig, system_prompt: str | None
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"contents": state.messages}
        if system_prompt is not None and system_prompt.strip():
            body["systemInstruction"] = {"parts": [{"text": system_prompt}]}
        if state.params:
            body["tools"] = state.params
        known = _known(config.model)
        thinks = known is None or known.reasoning is not False
        settings = gemini_format.generation_config(config, thinks=thinks)
        if settings:
            body["generationConfig"] = settings
        return body

    async def _look(self, state: RunState[dict[str, Any]]) -> None:
        """Look at what is new in a conversation, and take out the pictures that are too old."""
        config, messages = state.config, state.messages
        assert isinstance(config, GeminiConfig)
        looked = _looked_at(state)
        screen = next(iter(looked.predefined.values()), None)
        if not looked.count and screen is not None and await _show_screen(state, screen):
            looked.pictured.append(len(messages) - 1)
        for at in range(looked.count, len(messages)):
            gemini_format.fit_results(messages[at], config.model, looked.predefined)
            if gemini_format.has_pictures(messages[at], looked.screens):
                looked.pictured.append(at)
        looked.count = len(messages)
        while len(looked.pictured) > config.max_recent_turn_with_screenshots:
            oldest = looked.pictured.popleft()
            messages[oldest] = gemini_format.without_pictures(
                messages[oldest], looked.screens, gemini_format.OLD_PICTURE
            )

    def _endpoint_behind(self, client: Any) -> Endpoint:
        from hud.agents import google_sdk

        return google_sdk.endpoint_behind(client)


def _looked_at(state: RunState[dict[str, Any]]) -> _Looked:
    looked: _Looked | None = state.memory.get("looked")
    if looked is None:
        looked = state.memory["looked"] = _Looked()
        for name, tool in state.tools.items():
            spelled = gemini_format.wire_name(name)
            looked.own_names[spelled] = name
            if tool.protocol in _SCREENS:
                looked.screens.add(spelled)
            if isinstance(tool, GeminiComputerTool):
                looked.predefined[spelled] = tool
    return looked


async def _show_screen(state: RunState[dict[str, Any]], tool: GeminiComputerTool) -> bool:
    """Show the model its screen after the prompt: no function of its own only looks.

    False is a page that cannot be drawn yet; what the model does first will show it.

    Raises:
        CapabilityFault: when the screen is gone.
    """
    try:
        seen = await tool.view.look()
    except Fault:
        raise
    except HudError:
        return False
    blocks = [block for block in seen.content if isinstance(block, ImageContent)]
    shown = [PromptMessage(role="user", content=block) for block in blocks]
    state.messages.extend(gemini_format.contents(shown))
    if state.run is not None:
        state.run.record(Step(source="user", messages=shown))
    return True


def _known(model: str) -> ModelInfo | None:
    try:
        return resolve_model(model)
    except UnknownModel:
        return None
