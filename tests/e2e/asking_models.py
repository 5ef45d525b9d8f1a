"""What the tests of all agents share: runs without an environment, in a bare process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hud.agents.run import Run
from hud.trace.steps import AgentStep, ToolStep
from tests.bare import forget_settings

KEY = "a-key-that-must-not-leak"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine reaches a test."""
    forget_settings(monkeypatch)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def asked(prompt: Any = "How many 'r's are in 'strawberry'?", **agent_config: Any) -> Run:
    """Return a run that begins with a prompt."""
    run = Run(None, "count", {})
    run.slug, run.prompt, run.agent_config = "count-1", prompt, agent_config or None
    return run


def turns(run: Run) -> list[AgentStep]:
    """Return the turns of the model, oldest first."""
    return [step for step in run.trace.steps if isinstance(step, AgentStep)]


def tool_steps(run: Run) -> list[ToolStep]:
    """Return the calls of tools, oldest first."""
    return [step for step in run.trace.steps if isinstance(step, ToolStep)]


def results(run: Run) -> list[str]:
    """Return the text of every tool result, oldest first."""
    return [
        "".join(getattr(block, "text", "") for block in step.result.content)
        for step in tool_steps(run)
        if step.result is not None
    ]
