"""The Gemini agent with its computer tool, or functions instead, in real environments."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment
from hud.agents.gemini import GeminiAgent
from hud.agents.run import Run
from hud.clients import connect
from hud.environment.browser import Browser
from hud.runtimes.local import LocalRuntime
from hud.testing.model_server import Call, Image, ModelServer, Question, Say, script
from tests.conformance.daemons.cdp import NAMES
from tests.conformance.daemons.rfb import TIGERVNC
from tests.e2e.asking_models import bare, results, turns
from tests.e2e.gemini_agents import MakeAgent, agent_for
from tests.e2e.tools.pixels import GREEN, RED, middle_of
from tests.needs import need_module, need_program

__all__ = ["agent_for", "bare"]

COMPUTER = "gemini-2.5-computer-use-preview-10-2025"
FORM = """<!doctype html><meta charset=utf-8><body style='margin:0'>
<input id=i style='position:absolute;left:801px;top:403px;width:90px;height:24px;border:0;
  background:#f00;color:#f00'>
<button style='position:absolute;left:311px;top:203px;width:24px;height:16px;border:0;
  background:#008000' onclick='window.done = i.value'></button>"""


async def rollout(agent: GeminiAgent, env: Environment, task: Any) -> Run:
    async with (
        LocalRuntime(env) as runtime,
        runtime(task) as place,
        connect(place) as client,
        Run(client, task.id, task.args) as run,
    ):
        await agent(run)
    return run


def seen(question: Question) -> list[Image]:
    """Return every picture of the conversation, oldest first."""
    return [
        image
        for turn in question.turns
        for images in (turn.images, *(result.images for result in turn.results))
        for image in images
    ]


def at(question: Question, colour: tuple[int, int, int], scale: int | None) -> dict[str, Any]:
    """Return where a colour is on the last picture: in pixels, or in parts of `scale`."""
    from PIL import Image as Picture

    shown = Picture.open(io.BytesIO(seen(question)[-1].data)).convert("RGB")
    place = middle_of(shown, colour)
    assert place is not None
    if scale is None:
        return {"coordinate": list(place)}
    x, y = (round(part * scale / side) for part, side in zip(place, shown.size, strict=True))
    return {"x": x, "y": y}


async def test_a_bug_is_mended_with_shell_and_editor(agent_for: MakeAgent, tmp_path: Path) -> None:
    need_program("bwrap")
    folder = tmp_path / "work"
    folder.mkdir()
    env = Environment("fixing")
    env.workspace(folder)

    @env.template()
    async def fix() -> AsyncGenerator[Any, Any]:
        (folder / "adding.py").write_text("def add(a, b):\n    return a - b\n")
        yield "Mend add() in adding.py."
        yield float((folder / "adding.py").read_text() == "def add(a, b):\n    return a + b\n")

    edit = {"command": "str_replace", "path": "adding.py", "old_str": "a - b", "new_str": "a + b"}
    rule = script(
        Say(
            reasoning="have a look",
            calls=[Call("bash", {"command": "cat adding.py"}), Call("edit_file", edit)],
        ),
        Say(calls=[Call("bash", {"command": "cat adding.py; exit 3"})]),
        Say("mended"),
    )
    async with ModelServer(rule) as server:
        run = await rollout(agent_for(server), env, fix())
    assert run.reward == 1.0, results(run)
    (declared,) = server.requests[0].body["tools"]
    offered = [function["name"] for function in declared["functionDeclarations"]]
    assert offered == ["bash", "edit_file"]
    assert "return a - b" in results(run)[0] and "3" in results(run)[2]


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


async def test_a_form_is_filled_in_with_the_computer_tool(
    agent_for: MakeAgent, form: tuple[Environment, Any]
) -> None:
    decision = {"decision": "require_confirmation", "explanation": "a form is sent"}

    def typed(question: Question) -> Say:
        place = at(question, RED, 1000)
        return Say(calls=[Call("type_text_at", {**place, "text": "ready", "press_enter": False})])

    def clicked(question: Question) -> Say:
        place = at(question, GREEN, 1000)
        return Say(calls=[Call("click_at", {**place, "safety_decision": decision})])

    rule = script(typed, clicked, Say(calls=[Call("dance")]), Say("done"))
    async with ModelServer(rule) as server:
        agent = agent_for(server, model=COMPUTER, excluded_predefined_functions=["drag_and_drop"])
        run = await rollout(agent, *form)
    assert run.reward == 1.0, results(run)
    functions, computer = server.requests[0].body["tools"]
    assert computer == {
        "computerUse": {
            "environment": "ENVIRONMENT_BROWSER",
            "excludedPredefinedFunctions": ["drag_and_drop"],
        }
    }
    names = [function["name"] for function in functions["functionDeclarations"]]
    assert "browser_read" in names and "click_at" not in names
    first, second = server.requests[0].body["contents"]
    assert list(first["parts"][0]) == ["text"]
    assert second["parts"][0]["inlineData"]["mimeType"] == "image/png"
    one, two, three = (
        content["parts"][0]["functionResponse"]
        for content in server.requests[3].body["contents"]
        if "functionResponse" in content["parts"][0]
    )
    assert list(one["response"]) == ["url"] and one["response"]["url"].startswith("about:")
    assert one["parts"][0]["inlineData"]["data"]
    assert two["response"]["safety_acknowledgement"] == "true"
    assert "there is no tool 'dance'" in three["response"]["error"]
    arguments = turns(run)[1].tool_calls[0].arguments
    assert isinstance(arguments, dict) and arguments["safety_decision"] == decision


async def test_a_model_without_a_computer_tool_gets_functions(
    agent_for: MakeAgent, form: tuple[Environment, Any]
) -> None:
    def computer(**arguments: Any) -> Say:
        return Say(calls=[Call("computer", arguments)])

    rule = script(
        computer(action="screenshot"),
        lambda question: computer(action="left_click", **at(question, RED, None)),
        computer(action="type", text="ready"),
        lambda question: computer(action="left_click", **at(question, GREEN, None)),
        Say("done"),
    )
    async with ModelServer(rule) as server:
        run = await rollout(agent_for(server, model="gemini-2.5-flash"), *form)
    assert run.reward == 1.0, results(run)
    (declared,) = server.requests[0].body["tools"]
    names = {function["name"] for function in declared["functionDeclarations"]}
    assert {"computer", "browser_read"} <= names
    assert len(server.requests[0].body["contents"]) == 1


async def test_older_pictures_of_the_screen_are_left_out(
    agent_for: MakeAgent, form: tuple[Environment, Any]
) -> None:
    counted: list[int] = []

    def rule(question: Question) -> Say:
        counted.append(len(seen(question)))
        if question.turn == 6:
            return Say("enough")
        # Two pictures in one turn are of one turn.
        places = [{"x": 1, "y": 1}, {"x": 2, "y": 2}]
        return Say(calls=[Call("hover_at", place) for place in places])

    async with ModelServer(rule) as server:
        agent = agent_for(server, model=COMPUTER, max_recent_turn_with_screenshots=2)
        run = await rollout(agent, *form)
    assert run.trace.content == "enough"
    assert counted == [1, 3, 4, 4, 4, 4, 4]
    sent = server.requests[-1].body["contents"]
    assert sent[1]["parts"] == [{"text": "(an older picture, left out)"}]
    old = sent[3]["parts"][0]["functionResponse"]
    assert old["response"]["output"] == "(an older picture, left out)" and "parts" not in old
    assert server.requests[-1].body["contents"][2] == server.requests[1].body["contents"][2]


async def test_a_desktop_is_worked_with_the_computer_tool(
    agent_for: MakeAgent, tmp_path: Path
) -> None:
    need_module("PIL")
    for name in ("bwrap", "openbox", "xterm"):
        need_program(name)
    need_program(*TIGERVNC)
    terminal = "xterm -bg '#f00' -fg '#f00' -cr '#f00' -geometry 40x8+200+150 -e sh -c 'cat >a.txt'"
    env = Environment("terminals")
    files = env.workspace(tmp_path / "desk")
    env.desktop(workspace=files, width=1000, height=700, programs=(terminal,))

    @env.template()
    async def write() -> AsyncGenerator[Any, Any]:
        yield "Write ready into the red terminal."
        yield float(files.read_text("a.txt") == "ready\n")

    def typed(question: Question) -> Say:
        place = at(question, RED, 1000)
        arguments = {**place, "text": "ready", "clear_before_typing": False}
        return Say(calls=[Call("type_text_at", arguments)])

    rule = script(
        Say(calls=[Call("wait_5_seconds")]),  # until the terminal is there
        typed,
        Say(calls=[Call("key_combination", {"keys": "control+d"})]),
        Say("done"),
    )
    async with ModelServer(rule) as server:
        run = await rollout(agent_for(server, model=COMPUTER), env, write())
    assert run.reward == 1.0, results(run)
    _, computer = server.requests[0].body["tools"]
    assert "navigate" in computer["computerUse"]["excludedPredefinedFunctions"]
    answer = server.requests[1].body["contents"][-1]["parts"][0]["functionResponse"]
    assert answer["response"] == {"url": "about:blank"}
