"""Claude over the Messages API, through the official `anthropic` SDK.

The shape of requests and replies is `messages_format`; which native tools a model takes is known
by `tools.claude_kinds`, from the catalog.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hud._core.errors import AgentFault, InputError
from hud.agents import messages_format
from hud.agents.api_agent import ApiAgent
from hud.agents.kept_pictures import KeptPictures
from hud.agents.run import Run
from hud.agents.tool_agent import RunState
from hud.agents.tools.base import AgentTool, tool_maker
from hud.agents.tools.browser import BrowserTool
from hud.agents.tools.claude_kinds import native_kinds
from hud.agents.tools.computer import CLAUDE_SCREEN_TOOLS, SCREEN_TOOLS
from hud.agents.tools.editor import ClaudeEditTool, EditTool
from hud.agents.tools.mcp import MCPTool
from hud.agents.tools.memory import ClaudeMemoryTool
from hud.agents.tools.shell import BashTool, ClaudeBashTool
from hud.agents.types import ClaudeConfig, ToolAgentConfig
from hud.models.endpoint import Endpoint
from hud.models.provider import ANTHROPIC, Dialect
from hud.trace.content import ImageContent, MCPToolCall, MCPToolResult, PromptMessage
from hud.trace.steps import AgentStep

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.lib.bedrock import AsyncAnthropicBedrock

_MOST_PAUSES = 20
_BASH, _EDITOR, _MEMORY = "bash_20250124", "text_editor_20250728", "memory_20250818"


class ClaudeAgent(ApiAgent[ClaudeConfig, dict[str, Any]]):
    """Claude with the tools it was trained on: a shell, an editor, a computer, notes.

    A model gets a native tool where it takes the version there is here, a function otherwise.
    Bash, editor, memory and the computer toolset (Claude 5 and later) are generally available; the
    computer tool of Claude 4 (`computer_20250124`; `computer_20251124` from Opus 4.5 and
    Sonnet 4.6 on, and for all later models on Bedrock) is asked for with its beta header.

    Replies are streamed. Tools, the system prompt and the conversation so far are marked to be
    cached. A turn that the API pauses goes on within the same step. A refusal and an empty answer
    are answers; a reply that fills the model's context ends the run with `context_overflow`.
    """

    config_cls = ClaudeConfig
    dialect = Dialect.MESSAGES
    provider = ANTHROPIC
    sdk = "hud.agents.anthropic_sdk"
    tool_catalog = (ClaudeBashTool, ClaudeEditTool, *CLAUDE_SCREEN_TOOLS, BrowserTool, MCPTool)

    def __init__(self, config: ClaudeConfig | None = None, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.own_tools = (*self.own_tools, tool_maker(_memory))
        self.check_settings(self.config)

    @property
    def name(self) -> str:
        return "claude"

    @property
    def anthropic_client(self) -> AsyncAnthropic | AsyncAnthropicBedrock:
        """The client of the running event loop, shared by all agents on the same endpoint.

        Assign a client to use it instead; whoever made it closes it.

        Raises:
            InputError: when no endpoint is configured.
        """
        return self.client

    @anthropic_client.setter
    def anthropic_client(self, client: AsyncAnthropic | AsyncAnthropicBedrock) -> None:
        self.client = client

    @property
    def endpoint(self) -> Endpoint:
        if self._endpoint is None and self.config.model.startswith("arn:"):
            self._endpoint = _bedrock(self.config)
        return super().endpoint

    def check_settings(self, config: ToolAgentConfig) -> None:
        if not isinstance(config, ClaudeConfig):
            return
        budget = (config.thinking or {}).get("budget_tokens")
        if isinstance(budget, int) and budget >= config.max_tokens:
            raise InputError(
                f"thinking may use {budget} tokens, but a reply has {config.max_tokens} in all",
                hint="set max_tokens above thinking.budget_tokens",
            )

    def catalog(self, config: ToolAgentConfig) -> Sequence[type[AgentTool[Any]]]:
        native = native_kinds(config.model)
        replaced: dict[type[AgentTool[Any]], type[AgentTool[Any]]] = {}
        if native.shell != _BASH:
            replaced[ClaudeBashTool] = BashTool
        if native.editor != _EDITOR:
            replaced[ClaudeEditTool] = EditTool
        if native.computer is None:
            replaced |= dict(zip(CLAUDE_SCREEN_TOOLS, SCREEN_TOOLS, strict=True))
        return [replaced.get(kind, kind) for kind in self.tool_catalog]

    async def get_response(
        self,
        state: RunState[dict[str, Any]],
        *,
        system_prompt: str | None = None,
        citations_enabled: bool = False,
    ) -> AgentStep:
        config = state.config
        assert isinstance(config, ClaudeConfig)
        await self._prepare(state, config, cites=citations_enabled)
        step = await self._ask_once(state, config, system_prompt)
        for _ in range(_MOST_PAUSES):
            if step.stop_reason == "context_overflow" and config.on_context_overflow == "trim":
                if state.messages[-1]["role"] == "assistant":
                    state.messages.pop()
                if not self.trim(state):
                    break
                await self._prepare(state, config, cites=citations_enabled)
                used = step.usage
                step = await self._ask_once(state, config, system_prompt)
                step.usage = messages_format.total(used, step.usage)
            elif step.finish_reason == "pause_turn":
                more = await self._ask_once(state, config, system_prompt)
                step = messages_format.joined(step, more)
            else:
                break
        if step.finish_reason == "pause_turn":
            step.finish_reason = "stop"
        return step

    def format_prompt(self, messages: Sequence[PromptMessage]) -> list[dict[str, Any]]:
        return messages_format.prompt_messages(messages)

    def format_results(
        self, calls: Sequence[MCPToolCall], results: Sequence[MCPToolResult]
    ) -> list[dict[str, Any]]:
        return [messages_format.result_message(calls, results)]

    def format_tools(self, tools: dict[str, AgentTool[Any]], config: ToolAgentConfig) -> list[Any]:
        params = messages_format.tool_params(tools, config.hosted_tools)
        if params and not any("cache_control" in param for param in params):
            return messages_format.with_mark(params)
        return params

    def trim(self, state: RunState[dict[str, Any]]) -> bool:
        state.memory.pop("pictures", None)
        return messages_format.trim(state.messages)

    async def _ask_once(
        self, state: RunState[dict[str, Any]], config: ClaudeConfig, system_prompt: str | None
    ) -> AgentStep:
        from hud.agents import anthropic_sdk

        request: dict[str, Any] = {
            "model": config.model,
            "max_tokens": config.max_tokens,
            "messages": messages_format.marked(state.messages),
        }
        if system_prompt is not None and system_prompt.strip():
            block = {"type": "text", "text": system_prompt}
            request["system"] = messages_format.with_mark([block])
        if state.params:
            request["tools"] = state.params
        if config.thinking is not None:
            request["thinking"] = config.thinking
        betas = messages_format.betas(state.params)
        headers = self.trace_headers(state.run)
        content: list[dict[str, Any]] = []

        kept: KeptPictures = state.memory["pictures"]

        async def send(client: Any) -> dict[str, Any]:
            try:
                return await anthropic_sdk.stream(client, request, betas=betas, headers=headers)
            except anthropic_sdk.BadRequestError as error:
                # A tool's picture is the model's doing: it goes on without, and is told. The
                # request holds the very lists that are changed.
                is_one = anthropic_sdk.is_picture_refused(error)
                if is_one and kept.leave_out_all({"type": "text", "text": messages_format.REFUSED}):
                    return await send(client)
                raise
            except anthropic_sdk.NotAReply as error:
                where = f"the model API at {self.endpoint.shown}"
                raise messages_format.malformed(where, str(error)) from error

        def read(reply: dict[str, Any], where: str) -> AgentStep:
            content[:] = messages_format.reply_blocks(reply, where)
            return messages_format.read_reply(reply, content)

        step = await self.ask(state, request, send, read)
        for call in step.tool_calls:
            call.name = _tool_called(state.tools, call.name)
        said = messages_format.echoed(content)
        if said and state.messages[-1]["role"] == "assistant":
            state.messages[-1]["content"].extend(said)
        elif said:
            state.messages.append({"role": "assistant", "content": said})
        return step

    async def _prepare(
        self, state: RunState[dict[str, Any]], config: ClaudeConfig, *, cites: bool
    ) -> None:
        """Look at what is new in a conversation: pictures that are too large, or too many."""
        kept: KeptPictures | None = state.memory.get("pictures")
        if kept is None:
            kept = state.memory["pictures"] = KeptPictures(config.max_tool_result_images)
            if cites:
                messages_format.cite(state.messages)
        for message in state.messages[kept.seen :]:
            for place, block in enumerate(message["content"]):
                if block["type"] == "image":
                    message["content"][place] = await _fit(block)
                inner = messages_format.parts_of_result(block)
                for at, part in enumerate(inner):
                    if part["type"] == "image":
                        kept.add(inner, at, len(part["source"]["data"]))
        kept.seen = len(state.messages)
        kept.leave_out({"type": "text", "text": messages_format.LEFT_OUT})


async def _fit(block: dict[str, Any]) -> dict[str, Any]:
    """Return a picture of a prompt as the API takes it.

    Raises:
        AgentFault: when it cannot be shown: a task that rests on it would not be the same.
    """
    from hud.agents.tools.pictures import fit

    source = block["source"]
    shown = await fit(ImageContent(data=source["data"], mimeType=source["media_type"]))
    if not isinstance(shown, ImageContent):
        raise AgentFault(f"a picture of the prompt cannot be sent: {shown.text}")
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": shown.mimeType, "data": shown.data},
    }


def _memory(run: Run, config: ToolAgentConfig) -> AgentTool[Any] | None:
    wanted = isinstance(config, ClaudeConfig) and config.use_memory
    if not wanted or native_kinds(config.model).memory != _MEMORY:
        return None
    return ClaudeMemoryTool.alone()


def _tool_called(tools: dict[str, AgentTool[Any]], name: str) -> str:
    """Return the name of the tool that the API knows by `name`."""
    if name in tools:
        return name
    return next((own for own in tools if messages_format.wire_name(own) == name), name)


def _bedrock(config: ClaudeConfig) -> Endpoint | None:
    """Return where a model on Amazon Bedrock is asked; None where a gateway or base_url serves it.

    Raises:
        InputError: when nothing says how it is reached.
    """
    import importlib.util

    from hud._core.addresses import checked_key
    from hud._core.settings import read_settings
    from hud.agents.anthropic_sdk import BEDROCK, BEDROCK_TOKEN
    from hud.models.endpoint import setting

    settings = read_settings()
    if config.gateway or config.base_url:
        return None
    secret = settings.aws_secret_access_key if settings.aws_access_key_id else None
    key, variable = secret, "AWS_SECRET_ACCESS_KEY"
    if key is None:
        key, variable = setting(settings, BEDROCK_TOKEN), BEDROCK_TOKEN
    if key is None:
        if config.gateway is None and settings.hud_gateway_url and settings.api_key:
            return None
        raise InputError(
            f"the model {config.model!r} is on Amazon Bedrock, and there is no key for it",
            hint=f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or {BEDROCK_TOKEN}",
        )
    if importlib.util.find_spec("botocore") is None:
        raise InputError(
            "asking Amazon Bedrock needs the Python package boto3",
            hint="pip install 'anthropic[bedrock]'",
        )
    parts = config.model.split(":")
    region = (parts[3] if len(parts) > 4 else "") or settings.aws_region
    if not region:
        raise InputError(f"the model {config.model!r} names no region", hint="set AWS_REGION")
    address = f"https://bedrock-runtime.{region}.amazonaws.com"
    return Endpoint(address, checked_key(key), False, BEDROCK, variable)
