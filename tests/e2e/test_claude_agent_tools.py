"""The Messages API agent works with the tools of real environments."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment, LocalRuntime, Run
from hud.clients.connect import connect
from hud.environment.browser import Browser
from hud.testing.model_server import (
    Call,
    ModelServer,
    Say,
    script,
)
from tests.conformance.daemons.cdp import NAMES
from tests.e2e.asking_models import bare
from tests.e2e.claude_agents import agent_for, server_results
from tests.needs import need_module, need_program

__all__ = ["bare"]


async def test_native_shell_and_editor_fix_a_file_in_a_workspace(tmp_path: Path) -> None:
    need_program("bwrap")
    (tmp_path / "work").mkdir()
    env = Environment("shop")
    env.workspace(tmp_path / "work")

    @env.template()
    async def fix() -> AsyncGenerator[Any, Any]:
        (tmp_path / "work" / "sum.py").write_text("print(1 - 1)\n")
        yield "sum.py is to print 2."
        yield float((tmp_path / "work" / "sum.py").read_text() == "print(1 + 1)\n")

    edit = {"command": "str_replace", "old_str": "1 - 1", "new_str": "1 + 1"}
    rule = script(
        Say(calls=[Call("bash", {"command": "cat sum.py; pwd"})]),
        lambda question: Say(
            calls=[
                Call(
                    "str_replace_based_edit_tool",
                    {**edit, "path": question.last_results[0].text.split()[-1] + "/sum.py"},
                )
            ]
        ),
        Say(calls=[Call("bash", {"command": "python3 sum.py || echo 2"})]),
        lambda question: Say(question.last_results[0].text.strip()),
    )
    async with ModelServer(rule) as server, LocalRuntime(env) as runtime:
        task = fix()
        async with runtime(task) as place, connect(place) as client:
            run = Run(client, task.id, task.args)
            await run.start()
            await agent_for(server, use_memory=True)(run)
            await run.finish()
    assert (run.trace.content, run.grade.reward) == ("2", 1.0)
    kinds = [tool["type"] for tool in server.requests[0].body["tools"]]
    assert kinds == ["bash_20250124", "text_editor_20250728", "memory_20250818"]
    assert "anthropic-beta" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("model", "kind", "beta"),
    [
        ("claude-sonnet-4-6", "computer_20251124", "computer-use-2025-11-24"),
        ("claude-haiku-4-5", "computer_20250124", "computer-use-2025-01-24"),
        ("claude-sonnet-5-5", "computer_toolset_20260801", None),
    ],
)
async def test_a_page_is_worked_with_the_computer_tool_of_the_model(
    model: str, kind: str, beta: str | None
) -> None:
    need_program(*NAMES)
    need_program("bwrap")
    need_module("PIL")
    env = Environment("pages")
    daemon = env.add_daemon(Browser(width=800, height=600))
    page = "<body style='margin:0;height:600px' onclick='window.hit = event.clientX'></body>"

    @env.template()
    async def click() -> AsyncGenerator[Any, Any]:
        async with daemon.client() as driver:
            await driver.evaluate(f"document.open(); document.write({page!r}); document.close()")
        yield "Click at 300, 200."
        async with daemon.client() as driver:
            yield float(await driver.evaluate("window.hit === 300"))

    outside = {"action": "left_click", "coordinate": [9000, 0]}
    rule = script(
        Say(calls=[Call("computer", {"action": "screenshot"})]),
        Say(calls=[Call("computer", {"action": "left_click", "coordinate": [300, 200]})]),
        Say(calls=[Call("computer", outside), Call("computer", {"action": "screenshot"})]),
        Say("clicked"),
    )
    async with ModelServer(rule) as server, LocalRuntime(env) as runtime:
        task = click()
        async with runtime(task) as place, connect(place) as client:
            run = Run(client, task.id, task.args)
            await run.start()
            await agent_for(server, model=model)(run)
            await run.finish()
    assert (run.trace.content, run.grade.reward) == ("clicked", 1.0)
    request = server.requests[0]
    assert kind in [tool.get("type") for tool in request.body["tools"]]
    assert request.headers.get("anthropic-beta") == beta
    look, hit, out, last = (server_results(server, number) for number in (1, 2, 3, 3))
    assert len(look[0].images) == 1
    is_toolset = beta is None
    assert len(hit[0].images) == (0 if is_toolset else 1)
    assert out[0].is_error
    assert last[1].is_error == is_toolset, "none is carried out after one that failed"
