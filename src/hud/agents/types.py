"""Configuration rows of agents, and re-exports of the steps agents record."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Generic, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from typing_extensions import TypeVar

from hud.capabilities.screenshots import (
    PngScreenshotEncoding,
    ScreenshotEncoding,
    WebPScreenshotEncoding,
)
from hud.trace.content import ContentBlock, ImageContent, TextContent
from hud.trace.robot_steps import (
    InferenceStep,
    ObservationStep,
    StateFeature,
    VideoSegmentStep,
)
from hud.trace.steps import AgentStep, Citation, Sample, SubagentStep, ToolStep, Usage

__all__ = [
    "AgentConfig",
    "AgentStep",
    "AgentType",
    "BrowserUseConfig",
    "Citation",
    "ClaudeConfig",
    "ContentResult",
    "GeminiConfig",
    "HostedTool",
    "InferenceStep",
    "ObservationStep",
    "OpenAIChatConfig",
    "OpenAIConfig",
    "PngScreenshotEncoding",
    "Sample",
    "StateFeature",
    "SubagentStep",
    "ToolAgentConfig",
    "ToolStep",
    "Usage",
    "VideoSegmentStep",
    "WebPScreenshotEncoding",
]

SpecT = TypeVar("SpecT", default=Any)

UNKNOWN_MODEL = "unknown"


class AgentType(StrEnum):
    """Agents that drive a model, by the name the command line knows."""

    CLAUDE = "claude"
    OPENAI = "openai"
    GEMINI = "gemini"
    OPENAI_COMPATIBLE = "openai_compatible"
    CLAUDE_CLI = "claude_cli"
    CODEX_CLI = "codex_cli"


class HostedTool(BaseModel, Generic[SpecT]):
    """A tool the provider runs itself, such as web search; `spec` is sent as it is."""

    model_config = ConfigDict(extra="forbid")

    spec: SpecT


class AgentConfig(BaseModel):
    """What every harness understands. Times are seconds.

    Attributes:
        gateway: True asks through the gateway, False never; None decides by the keys there are.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)

    max_steps: int = 10
    timeout_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    system_prompt: str | None = None
    stop_on: set[Literal["length", "malformed_tool_call"]] = Field(
        default_factory=set[Literal["length", "malformed_tool_call"]]
    )
    model_name: str = "Agent"
    model: str = Field(
        default=UNKNOWN_MODEL, validation_alias=AliasChoices("model", "checkpoint_name")
    )
    gateway: bool | None = None


class ToolAgentConfig(AgentConfig):
    """What every harness around the tool loop understands.

    Attributes:
        max_steps: Model turns; -1 is no limit.
        auto_respond: Answer a model that asks back with "go on", as long as a second opinion
            says that it is not done.
        tool_timeout_seconds: For one call; the model is told when it passes.
        citations_enabled: Ask for sources where the dialect knows them.
        hosted_tools: Tools of the provider, added as they are.
        max_total_tokens: Prompt and completion tokens of all turns; a run that reaches it stops.
        max_cost_usd: Money of all turns; turns of unknown price count nothing.
        max_output_chars: Of one tool's text; the middle of a longer one is left out, with a
            notice.
        model_retries: Further attempts at a model call that failed in a way that may pass.
        model_patience_s: How long a model call waits in all because the API asks to (status 429,
            503, 529), in seconds.
        on_context_overflow: `stop`, or `trim`: leave out the oldest tool results and go on.
        model_client: A client of the dialect's SDK to use instead; its owner closes it.
    """

    auto_respond: bool = False
    tool_timeout_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    citations_enabled: bool = False
    hosted_tools: list[HostedTool[Any]] = Field(default_factory=list[HostedTool[Any]])
    screenshot_encoding: ScreenshotEncoding = Field(default_factory=PngScreenshotEncoding)
    max_total_tokens: int | None = Field(default=None, gt=0)
    max_cost_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_output_chars: int = Field(default=30_000, ge=200)
    model_retries: int = Field(default=4, ge=0)
    model_patience_s: float = Field(default=300, ge=0, allow_inf_nan=False)
    on_context_overflow: Literal["stop", "trim"] = "stop"
    model_client: Any = Field(default=None, exclude=True, repr=False)


class ClaudeConfig(ToolAgentConfig):
    """Claude over the Messages API.

    `api_key` and `base_url` fall back to ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL. A model given
    as an ARN of Amazon Bedrock is asked there, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

    Attributes:
        max_tokens: Of one reply, thinking included.
        use_computer_beta: Offer the native computer tool where there is a screen; else a function.
        use_memory: Offer the native memory tool, whose notes last as long as the run.
        thinking: The API's `thinking` object, sent as it is.
        max_tool_result_images: Pictures of tools kept in the conversation, the newest; None keeps
            as many as a request may hold.
    """

    tool_timeout_seconds: float | None = Field(default=120, gt=0, allow_inf_nan=False)
    model_name: str = "Claude"
    model: str = Field(
        default="claude-sonnet-4-6", validation_alias=AliasChoices("model", "checkpoint_name")
    )
    api_key: str | None = None
    base_url: str | None = None
    max_tokens: int = Field(default=16384, gt=0)
    use_computer_beta: bool = True
    use_memory: bool = False
    thinking: dict[str, Any] | None = None
    max_tool_result_images: int | None = Field(default=None, ge=0)


class OpenAIConfig(ToolAgentConfig):
    """OpenAI over the Responses API; fields named as its parameters are sent as they are.

    Attributes:
        prompt_cache_key: None makes one of the task, so that its runs share the provider's cache.
        store: Let the API keep the conversation, so that a turn sends what is new only. False
            sends everything always, encrypted reasoning included.
    """

    model_name: str = "OpenAI"
    model: str = Field(default="gpt-5.6", validation_alias=AliasChoices("model", "checkpoint_name"))
    max_output_tokens: int | None = None
    temperature: float | None = None
    reasoning: Any = None
    tool_choice: Any = None
    text: Any = None
    truncation: Literal["auto", "disabled"] | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: str | None = None
    store: bool = True


class GeminiConfig(ToolAgentConfig):
    """Gemini over generateContent; what is None is left to the API.

    Attributes:
        excluded_predefined_functions: Actions of its computer tool that are not offered.
        max_recent_turn_with_screenshots: Turns whose pictures stay in the conversation.
    """

    model_name: str = "Gemini"
    model: str = Field(
        default="gemini-3.1-pro-preview",
        validation_alias=AliasChoices("model", "checkpoint_name"),
    )
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_output_tokens: int | None = None
    excluded_predefined_functions: list[str] = Field(default_factory=list[str])
    thinking_level: Literal["minimal", "low", "medium", "high"] | None = None
    include_thoughts: bool = True
    max_recent_turn_with_screenshots: int = Field(default=3, ge=1)


class OpenAIChatConfig(ToolAgentConfig):
    """Chat Completions on any endpoint.

    `api_key` and `base_url` fall back to OPENAI_API_KEY and OPENAI_BASE_URL. `completion_kwargs`
    are passed on with every request.
    """

    model_name: str = "OpenAI Chat"
    model: str = Field(
        default="gpt-5.4-mini", validation_alias=AliasChoices("model", "checkpoint_name")
    )
    checkpoint: str | None = None
    api_key: str | None = None
    base_url: str | None = None
    completion_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])


class BrowserUseConfig(AgentConfig):
    """Browser-use in an interpreter of its own.

    `api_key` and `base_url` fall back to what is set for the model's provider.

    Attributes:
        max_steps: Steps of browser-use, each one turn with its actions; -1 is no limit.
        system_prompt: Added to browser-use's own.
        python: The interpreter that has browser-use; None looks at HUD_BROWSER_USE_PYTHON, then
            at this one.
        model_retries: Further attempts at a model call that failed in a way that may pass.
    """

    max_steps: int = 25
    model_name: str = "Browser Use"
    model: str = Field(
        default="claude-sonnet-4-5", validation_alias=AliasChoices("model", "checkpoint_name")
    )
    api_key: str | None = None
    base_url: str | None = None
    python: str | None = None
    model_retries: int = Field(default=4, ge=0)


class ContentResult(BaseModel):
    """What a tool put out, before it is content: text, an error, a picture in base64 (PNG)."""

    output: str | None = None
    error: str | None = None
    base64_image: str | None = None

    def to_content_blocks(self) -> list[ContentBlock]:
        """Return the parts that are there as content, in the order above."""
        blocks: list[ContentBlock] = [
            TextContent(text=text) for text in (self.output, self.error) if text
        ]
        if self.base64_image:
            blocks.append(ImageContent(data=self.base64_image, mimeType="image/png"))
        return blocks
