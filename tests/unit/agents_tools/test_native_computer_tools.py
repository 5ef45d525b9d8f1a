"""Which native tool a model gets, as its vendor's own types spell it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from hud.agents.run import Run
from hud.agents.tools.base import ToolContext
from hud.agents.tools.computer import ClaudeComputerTool, ComputerTool
from hud.agents.tools.computer_gemini import FUNCTIONS, GeminiComputerTool, GeminiPageTool
from hud.agents.tools.computer_openai import OpenAIComputerTool, OpenAIPageTool
from hud.agents.tools.screen import Viewport
from hud.agents.tools.screen_tool import ScreenTool
from hud.agents.types import ClaudeConfig, GeminiConfig, ToolAgentConfig
from hud.protocol.capability import Capability


class _Client:
    """Stands for a client nobody calls; pages remember its dialogs."""

    dialogs: tuple[()] = ()


def made(kind: type[ScreenTool], model: str, config: ToolAgentConfig | None = None) -> ScreenTool:
    row = Capability.rfb(url="127.0.0.1:5900")
    context = ToolContext(Run(None, "none", {}), row, config or ToolAgentConfig(), model)
    tool = kind(_Client(), context)
    tool.view.viewport = Viewport((1280, 720), (2560, 1440))
    return tool


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("claude-3-7-sonnet-20250219", "computer_20250124"),
        ("claude-sonnet-4-20250514", "computer_20250124"),
        ("claude-sonnet-4-5", "computer_20250124"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "computer_20250124"),
        ("claude-haiku-4-5-20251001", "computer_20250124"),
        ("claude-opus-4-1", "computer_20250124"),
        ("claude-opus-4-5", "computer_20251124"),
        ("anthropic/claude-opus-4.6", "computer_20251124"),
        ("claude-opus-4-6@20260205", "computer_20251124"),
        ("claude-sonnet-4-6", "computer_20251124"),
        ("claude-haiku-5-5", "computer_toolset_20260801"),
        ("claude-sonnet-5", "computer_toolset_20260801"),
        ("a-name-of-ones-own", "computer_toolset_20260801"),
        ("us.anthropic.claude-sonnet-5-5-v1:0", "computer_20251124"),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", "computer_20251124"),
    ],
)
def test_claude_gets_the_tool_of_its_generation(model: str, kind: str) -> None:
    beta = pytest.importorskip("anthropic.types.beta")
    tool = made(ClaudeComputerTool, model, ClaudeConfig())
    spec: Any = tool.native_spec()
    assert spec["type"] == kind
    version = kind.rpartition("_")[2]
    names = {"20260801": "BetaComputerToolset"}
    name = names.get(version, "BetaToolComputerUse") + version
    TypeAdapter[Any](getattr(beta, name)).validate_python(spec)
    if kind != "computer_toolset_20260801":
        assert (spec["display_width_px"], spec["display_height_px"]) == (1280, 720)
    assert ("enable_zoom" in spec) == (kind == "computer_20251124")
    plain = made(ClaudeComputerTool, model, ClaudeConfig(use_computer_beta=False))
    assert plain.native_spec() is None


def test_openai_gets_the_shape_its_model_knows() -> None:
    responses = pytest.importorskip("openai.types.responses")
    for model in ("gpt-5.4", "gpt-5.6", "gpt-5.4-mini", "openai/gpt-6"):
        spec: Any = made(OpenAIComputerTool, model).native_spec()
        assert responses.ComputerTool.model_validate(spec).to_dict() == spec
    for kind, environment in ((OpenAIComputerTool, "linux"), (OpenAIPageTool, "browser")):
        spec = made(kind, "computer-use-preview-2025-03-11").native_spec()
        parsed = responses.ComputerUsePreviewTool.model_validate(spec)
        assert (parsed.display_width, parsed.display_height) == (1280, 720)
        assert parsed.environment == environment
    for model in ("gpt-5", "gpt-4o", "o4-mini", "gpt-5.4-nano"):
        assert made(OpenAIComputerTool, model).native_spec() is None


def test_gemini_declares_one_tool_for_all_functions() -> None:
    types = pytest.importorskip("google.genai.types")
    for kind, excluded in (
        (GeminiPageTool, set[str]()),
        (GeminiComputerTool, {"open_web_browser", "go_back", "go_forward", "search", "navigate"}),
    ):
        tool = made(kind, "gemini-3.1-pro-preview", GeminiConfig())
        parsed = types.Tool.model_validate(tool.native_spec())
        assert parsed.computer_use.environment == "ENVIRONMENT_BROWSER"
        assert set(parsed.computer_use.excluded_predefined_functions) == excluded
        names = [each.name for each in tool.bound()]
        assert set(names) == {function.name for function in FUNCTIONS} - excluded


def test_a_model_without_a_native_tool_gets_a_function() -> None:
    tool = made(ComputerTool, "qwen")
    tool.bound()
    assert tool.native_spec() is None
    assert "1280x720" in tool.description
    assert tool.parameters["required"] == ["action"]
