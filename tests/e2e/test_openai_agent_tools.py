"""The Responses agent with its native tools, or functions instead, in real environments."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment
from hud.agents.openai import OpenAIAgent
from hud.agents.run import Run
from hud.clients import connect
from hud.environment.browser import Browser
from hud.runtimes.local import LocalRuntime
from hud.testing.model_server import ApiError, Call, ModelServer, Question, RawReply, Say, script
from hud.trace.steps import ToolStep
from tests.conformance.daemons.cdp import NAMES
from tests.e2e.asking_models import bare, results, turns
from tests.e2e.openai_responses import MakeAgent, agent_for
from tests.e2e.tools.pixels import GREEN, RED, middle_of
from tests.needs import need_module, need_program

__all__ = ["agent_for", "bare"]

FORM = """<!doctype html><meta charset=utf-8><body style='margin:0'>
<input id=i style='position:absolute;left:801px;top:403px;width:90px;height:24px;border:0;
  background:#f00;color:#f00'>
<button style='position:absolute;left:311px;top:203px;width:24px;height:16px;border:0;
  background:#008000' onclick='window.done = i.value'></button>"""


async def rollout(agent: OpenAIAgent, env: Environment, task: Any) -> Run:
    async with (
        LocalRuntime(env) as runtime,
        runtime(task) as place,
        connect(place) as client,
        Run(client, task.id, task.args) as run,
    ):
        await agent(run)
    return run


@pytest.fixture
def fixing(tmp_path: Path) -> tuple[Environment, Any]:
    """A workspace with a bug in it, and the task to mend it."""
    need_program("bwrap")
    folder = tmp_path / "work"
    folder.mkdir()
    env = Environment("fixing")
    env.workspace(folder)

    @env.template()
    async def fix() -> AsyncGenerator[Any, Any]:
        (folder / "adding.py").write_text("def add(a, b):\n    return a - b\n")
        yield "Mend add() in adding.py."
        fixed = (folder / "adding.py").read_text() == "def add(a, b):\n    return a + b\n"
        yield float(fixed and not (folder / "old.txt").exists())

    return env, fix()


def update(old: str, new: str) -> Call:
    diff = f"@@\n def add(a, b):\n-    return {old}\n+    return {new}\n"
    operation = {"type": "update_file", "path": "adding.py", "diff": diff}
    return Call("apply_patch", {"operation": operation})


async def test_a_bug_is_mended_with_shell_and_patches(
    agent_for: MakeAgent, fixing: tuple[Environment, Any]
) -> None:
    rule = script(
        Say(
            reasoning="have a look",
            calls=[
                Call(
                    "shell",
                    {
                        "commands": ["cat adding.py; echo oops >&2", "touch old.txt; exit 3"],
                        "timeout_ms": 60_000,
                        "max_output_length": 5_000,
                    },
                ),
                update("a * b", "a + b"),
            ],
        ),
        Say(calls=[update("a - b", "a + b"), Call("shell", {"commands": ["rm old.txt"]})]),
        Say("mended"),
    )
    async with ModelServer(rule) as server:
        run = await rollout(agent_for(server, model="gpt-5.6"), *fixing)
    assert run.reward == 1.0, results(run)
    first, second, third = (request.body for request in server.requests)
    assert first["tools"] == [
        {"type": "shell", "environment": {"type": "local"}},
        {"type": "apply_patch"},
    ]
    shell, patch = second["input"]
    assert shell["type"] == "shell_call_output" and shell["max_output_length"] == 5_000
    assert shell["output"] == [
        {
            "stdout": "def add(a, b):\n    return a - b\n",
            "stderr": "oops\n",
            "outcome": {"type": "exit", "exit_code": 0},
        },
        {"stdout": "", "stderr": "", "outcome": {"type": "exit", "exit_code": 3}},
    ]
    assert (patch["type"], patch["status"]) == ("apply_patch_call_output", "failed")
    assert third["input"][0]["status"] == "completed"
    assert "max_output_length" not in third["input"][1]
    call = turns(run)[0].tool_calls[0]
    assert call.arguments == {
        "commands": ["cat adding.py; echo oops >&2", "touch old.txt; exit 3"],
        "timeout_ms": 60_000,
        "max_output_length": 5_000,
    }
    assert (call.name, call.provider_name) == ("shell", "shell")


async def test_calls_no_tool_could_carry_out_are_answered_in_their_form(
    agent_for: MakeAgent, fixing: tuple[Environment, Any]
) -> None:
    wrong = [
        Call("shell", {"commands": []}),
        Call("apply_patch", "no operation"),
        Call("shell", {"commands": ["sleep 600"]}),
    ]
    async with ModelServer(script(Say(calls=wrong), Say("no"))) as server:
        agent = agent_for(server, model="gpt-5.6", tool_timeout_seconds=1)
        run = await rollout(agent, *fixing)
    assert run.reward == 0.0
    empty, malformed, slow = server.requests[1].body["input"]
    (said,) = empty["output"]
    assert said["outcome"] == {"type": "exit", "exit_code": 1}
    assert "at least one" in said["stderr"]
    assert malformed["status"] == "failed" and "no JSON object" in malformed["output"]
    assert slow["output"][0]["outcome"] == {"type": "timeout"}


@pytest.mark.parametrize("model", ["gpt-4.1", "served-by-myself"])
async def test_a_model_without_native_tools_gets_functions(
    agent_for: MakeAgent, fixing: tuple[Environment, Any], model: str
) -> None:
    edit = {"command": "str_replace", "path": "adding.py", "old_str": "a - b", "new_str": "a + b"}
    rule = script(
        Say(calls=[Call("bash", {"command": "cat adding.py"}), Call("edit_file", edit)]),
        Say("mended"),
    )
    async with ModelServer(rule) as server:
        run = await rollout(agent_for(server, model=model), *fixing)
    assert run.reward == 1.0, results(run)
    offered = [(tool["type"], tool["name"]) for tool in server.requests[0].body["tools"]]
    assert offered == [("function", name) for name in ("bash", "edit_file", "apply_patch")]
    kinds = {item["type"] for item in server.requests[1].body["input"]}
    assert kinds == {"function_call_output"}


def at(question: Question, colour: tuple[int, int, int]) -> dict[str, Any]:
    """Return a click on what has a colour on the last picture."""
    from PIL import Image

    shown = Image.open(io.BytesIO(question.last_results[-1].images[-1].data)).convert("RGB")
    place = middle_of(shown, colour)
    assert place is not None
    return {"type": "click", "button": "left", "x": place[0], "y": place[1]}


@pytest.fixture
def form() -> tuple[Environment, Any]:
    """A page with a form, and the task to fill it in."""
    need_program(*NAMES)
    need_program("bwrap")
    need_module("PIL")
    env = Environment("forms")
    daemon = env.add_daemon(Browser(width=1000, height=600))

    @env.template()
    async def fill() -> AsyncGenerator[Any, Any]:
        async with daemon.client() as driver:
            await driver.evaluate(f"document.open(); document.write({FORM!r}); document.close()")
        yield "Write ready into the red field and press the green button."
        async with daemon.client() as driver:
            yield float(await driver.evaluate("window.done === 'ready'"))

    return env, fill()


@pytest.mark.parametrize("model", ["gpt-5.6", "computer-use-preview", "gpt-4.1"])
async def test_a_form_is_filled_in_on_the_screen(
    agent_for: MakeAgent, form: tuple[Environment, Any], model: str
) -> None:
    is_native = model != "gpt-4.1"
    name = "computer_use_preview" if "preview" in model else "computer"

    def computer(action: dict[str, Any]) -> Say:
        if not is_native and action["type"] == "click":
            place = [action["x"], action["y"]]
            return Say(calls=[Call("computer", {"action": "left_click", "coordinate": place})])
        if not is_native:
            action = {**action, "action": action.pop("type")}
        return Say(calls=[Call(name, action)])

    rule = script(
        lambda _: computer({"type": "screenshot"}),
        lambda question: computer(at(question, RED)),
        lambda _: computer({"type": "type", "text": "ready"}),
        lambda question: computer(at(question, GREEN)),
        Say("done"),
    )
    async with ModelServer(rule) as server:
        run = await rollout(agent_for(server, model=model), *form)
    assert run.reward == 1.0, results(run)
    tools = {tool["type"] for tool in server.requests[0].body["tools"]}
    native = {"gpt-5.6": {"computer"}, "computer-use-preview": {"computer_use_preview"}}
    assert tools == {"function"} | native.get(model, set())
    names = {tool.get("name") for tool in server.requests[0].body["tools"]}
    assert "browser_read" in names
    truncation = server.requests[0].body.get("truncation")
    assert truncation == ("auto" if model == "computer-use-preview" else None)
    (output, *_) = server.requests[1].body["input"]
    if is_native:
        assert output["type"] == "computer_call_output"
        assert output["output"]["image_url"].startswith("data:image/png;base64,")


async def test_safety_checks_are_acknowledged_and_kept_and_troubles_are_told(
    agent_for: MakeAgent, form: tuple[Environment, Any]
) -> None:
    check = {"id": "cu_sc_1", "code": "malicious_instructions", "message": "look closely"}
    item = {
        "type": "computer_call", "id": "cu_1", "call_id": "c1", "status": "completed",
        "pending_safety_checks": [check], "actions": [{"type": "dance"}],
    }  # fmt: skip
    broken = {**item, "id": "cu_2", "call_id": "c2", "pending_safety_checks": [], "actions": []}
    body = {"id": "resp_x", "status": "completed", "output": [item, broken]}
    rule = script(RawReply(json.dumps(body).encode()), Say("I stop"))
    async with ModelServer(rule) as server:
        run = await rollout(agent_for(server, model="gpt-5.6"), *form)
    assert turns(run)[0].extra["acknowledged_safety_checks"] == [check]
    items = server.requests[-1].body["input"]
    first, second, *notes = items[-4:]
    assert first["acknowledged_safety_checks"] == [check]
    assert "acknowledged_safety_checks" not in second
    assert all(output["type"] == "computer_call_output" for output in (first, second))
    assert "'type'" in notes[0]["content"] and "list of 1 to" in notes[1]["content"]


async def test_screens_are_blanked_when_the_conversation_is_too_long(
    agent_for: MakeAgent, form: tuple[Environment, Any]
) -> None:
    def rule(question: Question) -> Say | ApiError:
        seen = [image for turn in question.turns for result in turn.results
                for image in result.images if len(image.data) > 200]  # fmt: skip
        if len(seen) > 2:
            return ApiError(400, "too long", "context_length_exceeded")
        if question.turn == 5:
            return Say("enough")
        return Say(calls=[Call("computer", {"actions": [{"type": "screenshot"}]})])

    async with ModelServer(rule) as server:
        agent = agent_for(server, model="gpt-5.6", on_context_overflow="trim")
        run = await rollout(agent, *form)
    assert (run.trace.content, run.trace.stop_reason) == ("enough", "done")
    steps = [step for step in run.trace.steps if isinstance(step, ToolStep)]
    assert len(steps) == 5
    url = next(
        item["output"]["image_url"]
        for request in server.requests
        for item in request.body["input"]
        if item.get("type") == "computer_call_output" and len(item["output"]["image_url"]) < 300
    )
    from PIL import Image

    assert Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size == (64, 64)
