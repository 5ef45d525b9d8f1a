"""Browser-use in its own interpreter, driving the browsers of real environments."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import socket
import struct
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from hud import LocalRuntime, Taskset
from hud._core.errors import AgentFault, CapabilityFault, InputError, ModelFault
from hud.agents.browser_use import BrowserUseAgent, BrowserUseConfig
from hud.agents.create import make_agent
from hud.agents.run import Run
from hud.capabilities import Capability
from hud.clients import connect
from hud.environment import Environment, Peer
from hud.environment.browser import Browser
from hud.environment.server import bind
from hud.eval import Runtime
from hud.testing.model_server import (
    ApiError,
    Call,
    ModelServer,
    Question,
    RawReply,
    Reply,
    Say,
)
from hud.trace.content import ImageContent
from hud.trace.steps import AgentStep, ToolStep
from tests.bare import forget_settings
from tests.conformance.daemons.cdp import NAMES
from tests.needs import need_program

KEY = "a-key-that-must-not-leak"
WEB_FORM = Path(__file__).parents[2] / "examples" / "web_form" / "tasks.py"
FORM = "<title>T</title><input id=i><button onclick='done=i.value'>send</button>"
PAGE = "http://form:8000/"
MODELS = {"chat": "a-model-of-my-own", "messages": "claude-sonnet-4-5", "gemini": "gemini-2.5-pro"}
DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting of this machine reaches a test, and what is left behind is seen."""
    forget_settings(monkeypatch)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "hud"))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("HUD_BROWSER_USE_PYTHON", raising=False)
    return folder


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
async def url() -> AsyncGenerator[str]:
    """An environment whose one task is to write "ready" into a form, or to leave a page empty."""
    need_program(*NAMES)
    need_program("bwrap")
    site = await asyncio.start_server(serve_form, "127.0.0.1", 0)
    env = Environment("forms")
    browser = env.add_daemon(Browser(peers=[Peer("form", 8000, site.sockets[0].getsockname())]))

    @env.template()
    async def fill(page: str = PAGE) -> AsyncGenerator[Any, Any]:
        async with browser.client() as cdp:
            await cdp.navigate(page)
        yield "Write ready into the field and send it."
        async with browser.client() as cdp:
            if page == PAGE:
                yield float(await cdp.evaluate("globalThis.done === 'ready'"))
            else:
                yield float(await cdp.evaluate("document.body.innerHTML + document.title") == "")

    async with site, bind(env) as address:
        yield address


async def serve_form(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer whatever is asked with the form."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(FORM)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n{FORM}".encode())
        await writer.drain()
    writer.close()


def said(*actions: dict[str, Any], goal: str = "go on") -> Callable[[Question], Reply]:
    """Return a rule that answers in browser-use's form: a call where it offers one, else JSON."""
    answer = {
        "thinking": "as told",
        "evaluation_previous_goal": "fine",
        "memory": "nothing yet",
        "next_goal": goal,
        "action": list(actions),
    }

    def rule(question: Question) -> Reply:
        if question.tools:
            return Say(calls=[Call(question.tools[0].name, answer)])
        return Say(json.dumps(answer))

    return rule


def done(text: str = "sent", *, success: bool = True) -> Callable[[Question], Reply]:
    return said({"done": {"text": text, "success": success, "files_to_display": []}})


def elements(question: Question) -> list[tuple[int, str]]:
    """Return what the state in the question lists: numbers with the elements' own words."""
    state = question.turns[-1].text.rpartition("<browser_state>")[2]
    return [(int(number), words) for number, words in re.findall(r"\[(\d+)\](<[^\n]*)", state)]


def element(question: Question, words: str) -> int:
    return next(number for number, said in elements(question) if words in said)


def signs_up(question: Question) -> Reply:
    """Fill in the form of the example, as the task says."""
    asked = re.search(r"Sign up (.+), who is (\d+) years old, for (\w+)\.", question.turns[-1].text)
    assert asked is not None
    if "Thank you" in question.turns[-1].text:
        return done("signed up")(question)
    if "checked=false" not in question.turns[-1].text:
        button = element(question, "<button")
        return said({"click": {"index": button}}, goal="send it")(question)
    name, age, course = asked.groups()
    fields = {
        field: element(question, f"name={field}") for field in ("name", "age", "course", "terms")
    }
    return said(
        {"input": {"index": fields["name"], "text": name, "clear": True}},
        {"input": {"index": fields["age"], "text": age, "clear": True}},
        {"select_dropdown": {"index": fields["course"], "text": course}},
        {"click": {"index": fields["terms"]}},
        goal="fill in the form",
    )(question)


def writes_ready(question: Question) -> Reply:
    return said(
        {"input": {"index": element(question, "<input"), "text": "ready", "clear": True}},
        {"click": {"index": element(question, "<button")}},
    )(question)


def agent_for(
    server: ModelServer, python: Path, dialect: str = "chat", **config: Any
) -> BrowserUseAgent:
    config.setdefault("base_url", server.base_url(dialect))
    config.setdefault("model", MODELS[dialect])
    return BrowserUseAgent(
        BrowserUseConfig(api_key=KEY, python=str(python), model_retries=0, **config)
    )


def size_of(picture: ImageContent) -> tuple[int, int]:
    """Return width and height of a PNG."""
    width, height = struct.unpack(">II", base64.b64decode(picture.data)[16:24])
    return width, height


async def driven(url: str, agent: BrowserUseAgent, **args: Any) -> Run:
    """Return the run of one task of the environment at `url`."""
    async with connect(Runtime(url)) as client, Run(client, "fill", args) as run:
        await agent(run)
    return run


def workers() -> list[Path]:
    """Return the processes of this user that run the worker."""
    found: list[Path] = []
    for folder in Path("/proc").iterdir():
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == os.getpid() and any(
            one.endswith(b"browser_use/worker.py") for one in arguments
        ):
            found.append(folder)
    return found


@pytest.fixture
def listening(tmp_path: Path, browser_use_python: Path) -> tuple[Path, Path]:
    """An interpreter that writes down every address it looks up or connects to, and where."""
    log, hook = tmp_path / "addresses.txt", tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import sys\n"
        f"log = open({str(log)!r}, 'a', buffering=1)\n"
        "def heard(event, args):\n"
        "    if event == 'socket.connect':\n"
        "        print(args[1][0] if isinstance(args[1], tuple) else args[1], file=log)\n"
        "    elif event in ('socket.getaddrinfo', 'socket.gethostbyname'):\n"
        "        print(args[0], file=log)\n"
        "sys.addaudithook(heard)\n"
    )
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="{hook}" exec "{browser_use_python}" "$@"\n')
    wrapper.chmod(0o755)
    return wrapper, log


async def test_it_fills_in_the_web_form_and_reaches_nothing_else(
    listening: tuple[Path, Path], home: Path, scratch: Path
) -> None:
    need_program(*NAMES)
    need_program("bwrap")
    python, log = listening
    async with ModelServer(signs_up, api_key=KEY) as server:
        agent = agent_for(server, python)
        agent.check_ready()
        tasks = Taskset.from_file(WEB_FORM)
        job = await tasks.run(agent, runtime=LocalRuntime(WEB_FORM))
    assert [run.reward for run in job.runs] == [1.0, 1.0], [run.trace.error for run in job.runs]
    for run in job.runs:
        assert (run.trace.content, run.trace.stop_reason) == ("signed up", "done")
        turns = [step for step in run.trace.steps if isinstance(step, AgentStep)]
        assert [turn.content for turn in turns] == ["fill in the form", "send it", "signed up"]
        assert [turn.done for turn in turns] == [False, False, True]
        assert all(turn.usage and turn.usage.prompt_tokens for turn in turns)
        assert "as told" in (turns[0].reasoning or "")
        tools = [step for step in run.trace.steps if isinstance(step, ToolStep)]
        calls = [step.call.name for step in tools if step.call]
        assert calls == ["input", "input", "select_dropdown", "click", "click"]
        assert not any(step.result.isError for step in tools if step.result)
        assert [step.call for step in tools] == [call for turn in turns for call in turn.tool_calls]
        pictures = [
            message.content
            for step in run.trace.steps
            for message in step.messages
            if isinstance(message.content, ImageContent)
        ]
        assert [size_of(picture) for picture in pictures] == [(1280, 720)] * 3
        assert run.usage.llm_call_count == 3
        assert KEY not in run.trace.model_dump_json()
    addresses = set(log.read_text().split())
    assert addresses == {"127.0.0.1"}
    assert list(home.iterdir()) == []
    assert list(scratch.glob("hud-browser-use-*")) == []


async def test_gemini_drives_it(url: str, browser_use_python: Path) -> None:
    rule = once(writes_ready, done())
    async with ModelServer(rule, api_key=KEY) as server:
        run = await driven(url, agent_for(server, browser_use_python, "gemini"))
    assert (run.reward, run.trace.content) == (1.0, "sent")
    assert {request.dialect.value for request in server.requests} == {"gemini"}
    assert run.usage.prompt_tokens
    assert run.usage.cost_usd is None


async def test_claude_drives_it_through_a_gateway(
    url: str, browser_use_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ModelServer(once(writes_ready, done()), api_key=KEY) as server:
        monkeypatch.setenv("HUD_GATEWAY_URL", server.gateway_url)
        monkeypatch.setenv("HUD_API_KEY", KEY)
        config = BrowserUseConfig(gateway=True, python=str(browser_use_python), model_retries=0)
        run = await driven(url, BrowserUseAgent(config))
    assert (run.reward, run.trace.content) == (1.0, "sent")
    assert {request.dialect.value for request in server.requests} == {"messages"}
    assert run.usage.cost_usd is not None
    assert run.usage.cost_usd > 0


def once(*rules: Callable[[Question], Reply]) -> Callable[[Question], Reply]:
    """Return a rule that answers as each of these does, one after the other, the last for good."""
    left = list(rules)

    def rule(question: Question) -> Reply:
        return (left.pop(0) if len(left) > 1 else left[0])(question)

    return rule


async def test_an_empty_page_is_left_empty(url: str, browser_use_python: Path) -> None:
    async with ModelServer(done()) as server:
        run = await driven(url, agent_for(server, browser_use_python), page="about:blank")
    assert run.reward == 1.0


async def test_cancelling_leaves_no_process_and_no_folder(
    url: str, browser_use_python: Path, scratch: Path
) -> None:
    asked = asyncio.Event()

    async def never(question: Question) -> Reply:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with ModelServer(never) as server:
        driving = asyncio.create_task(driven(url, agent_for(server, browser_use_python)))
        async with asyncio.timeout(DEADLINE_S):
            await asked.wait()
        (worker,) = workers()
        assert KEY.encode() not in (worker / "cmdline").read_bytes()
        assert KEY.encode() not in (worker / "environ").read_bytes()
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving
    assert workers() == []
    assert list(scratch.glob("hud-browser-use-*")) == []


async def test_a_row_sets_the_steps_after_which_it_is_graded_and_never_where_the_key_goes(
    url: str, browser_use_python: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    catalog = tmp_path / "models.toml"
    monkeypatch.setenv("HUD_MODELS_FILE", str(catalog))
    rule = once(writes_ready, done("not quite", success=False))
    async with ModelServer(rule) as server:
        catalog.write_text(
            f'[providers.mine]\nbase_url = "{server.base_url("chat")}"\n'
            '[[models]]\nname = "my-model"\nprovider = "mine"\n'
            "price = { input = 2.0, output = 10.0 }\n"
        )
        agent = BrowserUseAgent(
            BrowserUseConfig(model="my-model", python=str(browser_use_python), model_retries=0)
        )
        async with connect(Runtime(url)) as client, Run(client, "fill", {}) as run:
            run.agent_config = {"base_url": "http://127.0.0.1:1/v1"}
            with pytest.raises(AgentFault, match="may not set base_url"):
                await agent(run)
            run.agent_config = {"max_steps": 2}
            await agent(run)
    assert (run.reward, run.trace.stop_reason) == (1.0, "max_steps")
    assert run.trace.content == "not quite"
    usage = run.usage
    assert usage.prompt_tokens and usage.completion_tokens
    expected = (2.0 * usage.prompt_tokens + 10.0 * usage.completion_tokens) / 1e6
    assert usage.cost_usd == pytest.approx(expected)


async def test_answers_that_are_no_actions_are_the_models_own(
    url: str, browser_use_python: Path
) -> None:
    async with ModelServer(lambda question: "I would rather talk") as server:
        run = await driven(url, agent_for(server, browser_use_python))
    assert run.is_graded
    assert (run.reward, run.trace.stop_reason) == (0.0, "malformed_tool_call")


FAILURES: list[tuple[str, Reply, str]] = [
    ("chat", ApiError(401, "no such key"), "answered status 401"),
    ("messages", ApiError(529, "overloaded"), "answered status 529"),
    ("chat", RawReply(b"<html>hello</html>", content_type="text/html"), "failed for model"),
]


@pytest.mark.parametrize(("dialect", "reply", "says"), FAILURES)
async def test_a_failing_model_api_is_a_fault_of_the_model(
    url: str, browser_use_python: Path, dialect: str, reply: Reply, says: str
) -> None:
    async with ModelServer(lambda question: reply) as server:
        with pytest.raises(ModelFault, match=says) as caught:
            await driven(url, agent_for(server, browser_use_python, dialect))
    assert KEY not in caught.value.message + str(caught.value.hint)
    assert workers() == []


async def test_a_model_that_is_down_is_a_fault_of_the_model(
    url: str, browser_use_python: Path
) -> None:
    async with ModelServer(done()) as server:
        agent = agent_for(server, browser_use_python, "gemini")
    with pytest.raises(ModelFault, match="cannot be reached: Connection refused"):
        await driven(url, agent)


async def test_a_conversation_too_long_for_the_model_is_graded(
    url: str, browser_use_python: Path
) -> None:
    too_long = ApiError(400, "too long", code="context_length_exceeded")
    async with ModelServer(once(writes_ready, lambda question: too_long)) as server:
        run = await driven(url, agent_for(server, browser_use_python))
    assert (run.reward, run.trace.stop_reason) == (1.0, "context_overflow")


async def test_a_browser_that_is_gone_is_a_fault_of_the_capability(
    browser_use_python: Path,
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        env = Environment("gone")
        env.add_capability(Capability.cdp(url=f"ws://127.0.0.1:{port}"))

        @env.template()
        async def fill() -> AsyncGenerator[Any, Any]:
            yield "Write ready into the field and send it."
            yield 0.0

        async with ModelServer(done()) as server, bind(env) as address:
            with pytest.raises(CapabilityFault, match="cannot be driven by browser-use"):
                await driven(address, agent_for(server, browser_use_python))


async def test_a_browser_that_crashes_in_the_middle_is_gone_on_with(
    url: str, browser_use_python: Path
) -> None:
    crash = said({"navigate": {"url": "chrome://inducebrowsercrashforrealz", "new_tab": False}})
    back = said({"navigate": {"url": PAGE, "new_tab": False}})
    async with ModelServer(once(crash, back, writes_ready, done())) as server:
        run = await driven(url, agent_for(server, browser_use_python))
    assert (run.reward, run.trace.stop_reason) == (1.0, "done")
    assert ["started anew" in str(request.body) for request in server.requests] == [
        False,
        True,
        True,
        True,
    ]


async def test_a_worker_that_dies_is_a_fault_of_the_agent(url: str, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho something is wrong >&2\nexit 3\n")
    broken.chmod(0o755)
    async with ModelServer(done()) as server:
        with pytest.raises(AgentFault, match="ended with status 3: something is wrong"):
            await driven(url, agent_for(server, broken))


async def test_an_interpreter_without_it_is_named_before_a_job_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, browser_use_python: Path
) -> None:
    async with ModelServer(done()) as server:
        config: dict[str, Any] = {"base_url": server.base_url("chat"), "model": "mine"}
        missing = BrowserUseAgent(BrowserUseConfig(**config, python=str(tmp_path / "python")))
        with pytest.raises(InputError, match="is no program") as caught:
            missing.check_ready()
        assert "pip install browser-use" in str(caught.value.hint)
        with pytest.raises(InputError, match=r"has no browser-use: .*No package metadata"):
            BrowserUseAgent(BrowserUseConfig(**config, python=sys.executable)).check_ready()
        with pytest.raises(InputError, match="browser-use is not installed") as caught:
            BrowserUseAgent(BrowserUseConfig(**config)).check_ready()
        assert "HUD_BROWSER_USE_PYTHON" in str(caught.value.hint)
        monkeypatch.setenv("HUD_BROWSER_USE_PYTHON", str(browser_use_python))
        BrowserUseAgent(BrowserUseConfig(**config)).check_ready()


def test_a_model_without_a_key_is_named_before_a_job_begins(browser_use_python: Path) -> None:
    agent = BrowserUseAgent(BrowserUseConfig(python=str(browser_use_python)))
    assert agent.config.max_steps == 25
    assert agent.model == "claude-sonnet-4-5"
    with pytest.raises(InputError, match="ANTHROPIC_API_KEY"):
        agent.check_ready()
    with pytest.raises(InputError, match="no model 'nobodys-model'"):
        BrowserUseAgent(BrowserUseConfig(model="nobodys-model")).check_ready()


def test_it_describes_itself_without_key_and_interpreter() -> None:
    config = BrowserUseConfig(api_key=KEY, python="/x/python", base_url="http://me:pw@h:1/v1")
    described = BrowserUseAgent(config).describe()
    assert described["agent"] == "browser_use"
    assert described["config"]["base_url"] == "http://h:1/v1"
    assert not {"api_key", "python"} & set(described["config"])


def test_the_command_line_makes_it_by_name() -> None:
    agent = make_agent("browser_use", model="gpt-5.6", config={"max_steps": 3, "python": "/x"})
    assert isinstance(agent, BrowserUseAgent)
    assert (agent.model, agent.config.max_steps, agent.config.python) == ("gpt-5.6", 3, "/x")
