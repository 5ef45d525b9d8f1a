"""Command-line agents in a workspace: stand-ins for the vendors' programs mend a project there.

The model is the test server behind the run's own proxy; the key it wants is in this process alone.
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from hud import Environment, Run, Task, Taskset
from hud._core.outcome import Outcome
from hud.agents import command_line
from hud.agents.command_line import (
    ClaudeCLIAgent,
    ClaudeCLIConfig,
    CodexCLIAgent,
    CodexCLIConfig,
    CommandLine,
    CommandLineAgent,
    CommandLineConfig,
)
from hud.agents.command_line import agent as agent_module
from hud.agents.command_line.claude import CLAUDE_CODE
from hud.agents.command_line.codex import CODEX
from hud.capabilities import SSHClient
from hud.errors import InputError
from hud.eval.rollout import rollout
from hud.models.provider import Dialect
from hud.runtimes.local import LocalRuntime
from hud.testing.model_server import ApiError, Call, HangUp, ModelServer, Question, Say
from hud.trace.steps import AgentStep
from tests.bare import forget_settings
from tests.e2e import stand_ins
from tests.rollouts import assert_ungraded, recorded, recorded_in
from tests.security.world import need_isolation

KEY = "sk-provider-key-that-stays-outside-0451"
MODEL = "the-model"
EXAMPLE = Path(__file__).parents[2] / "examples/fix_test"
TOTAL = "sed -i 's/ - 1$//' prices.py && python -m pytest -q -k total"
FOLDER = "/home/agent/bin"
Isolation = Literal["bwrap", "uid"]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting of this machine reaches a test, and what runs is recorded."""
    forget_settings(monkeypatch)
    monkeypatch.setattr(agent_module, "_LAST_WORD_S", 30.0)
    with recorded_in(tmp_path, monkeypatch):
        yield


class Installed(CommandLineAgent[Any]):
    """An agent whose program is put where an image would have it, right before it starts."""

    def __init__(self, inner: CommandLineAgent[Any], script: str) -> None:
        super().__init__(inner.config)
        self.inner = inner
        self.script = script

    async def __call__(self, run: Run) -> None:
        ssh = await run.client.open("ssh", SSHClient)
        program = self.inner.config.command.argv[0]
        path = program.replace("$HOME", (await ssh.execute('printf %s "$HOME"')).stdout)
        folder = str(Path(path).parent)
        await ssh.execute(f"mkdir -p {shlex.quote(folder)}")
        await ssh.write_text(path, self.script)
        await ssh.execute(f"chmod +x {shlex.quote(path)}")
        await self.inner(run)


def at(command: CommandLine, name: str) -> CommandLine:
    return command.model_copy(update={"argv": (f"{FOLDER}/{name}", *command.argv[1:])})


def claude(server: ModelServer, **settings: Any) -> Installed:
    settings = {"model": MODEL, "api_key": KEY, "base_url": server.base_url("messages")} | settings
    config = ClaudeCLIConfig(command=at(CLAUDE_CODE, "claude"), **settings)
    return Installed(ClaudeCLIAgent(config), stand_ins.CLAUDE)


def codex(server: ModelServer, **settings: Any) -> Installed:
    settings = {"model": MODEL, "api_key": KEY, "base_url": server.base_url("responses")} | settings
    config = CodexCLIConfig(command=at(CODEX, "codex"), **settings)
    return Installed(CodexCLIAgent(config), stand_ins.CODEX)


def own(server: ModelServer, *, isolation: Isolation = "bwrap", **settings: Any) -> Installed:
    """A program of nobody's, by row: over TCP, or by a Unix socket where there is no TCP."""
    where = "{base_url}" if isolation == "bwrap" else "{socket}"
    folder = FOLDER if isolation == "bwrap" else "bin"
    command = CommandLine(
        name="Own",
        argv=(f"{folder}/own", where, "{model}", "{prompt}"),
        env={"OWN_KEY": "{token}"},
        dialect=Dialect.CHAT,
        prompt="argv",
        answer="last_json",
    )
    settings = {"model": MODEL, "api_key": KEY, "base_url": server.base_url("chat")} | settings
    config = CommandLineConfig(command=command, **settings)
    return Installed(CommandLineAgent(config), stand_ins.OWN)


def mending(question: Question) -> Say:
    """Mend, look whether the test passes, and say so."""
    if question.turn == 0:
        name = question.tools[0].name
        call = Call(name, {"command": TOTAL})
        return Say("I mend it.", calls=[call], prompt_tokens=100, completion_tokens=20)
    assert "1 passed" in question.last_results[0].text, question.last_results[0].text
    return Say("The test passes.", prompt_tokens=200, completion_tokens=5)


def commanding(command: str) -> Any:
    """Have a command run, then end with what it printed."""

    def rule(question: Question) -> Say:
        if not question.tools:
            return Say("hi")
        if question.turn == 0:
            return Say(calls=[Call(question.tools[0].name, {"command": command})])
        return Say(question.last_results[0].text)

    return rule


def example_task() -> tuple[Task, LocalRuntime]:
    source = EXAMPLE / "tasks.py"
    tasks = [task for task in Taskset.from_file(source) if task.args["function"] == "total"]
    return tasks[0], LocalRuntime(source)


async def mend_example(agent: CommandLineAgent[Any], **agent_config: Any) -> Run:
    need_isolation("bwrap")
    task, runtime = example_task()
    if agent_config:
        task = task.model_copy(update={"agent_config": agent_config})
    return await rollout(task, agent, runtime=runtime)


def turns(run: Run) -> list[AgentStep]:
    return [step for step in run.trace.steps if isinstance(step, AgentStep)]


MAKERS = {"claude": claude, "codex": codex, "own": own}


@pytest.mark.parametrize("name", MAKERS)
async def test_a_command_line_agent_mends_the_example(name: str) -> None:
    async with ModelServer(mending, api_key=KEY) as server:
        run = await mend_example(MAKERS[name](server))
    assert (run.outcome, run.reward) == (Outcome.GRADED, 1.0), run.trace.error
    assert (run.trace.content, run.trace.stop_reason) == ("The test passes.", "done")
    assert [step.usage and step.usage.prompt_tokens for step in turns(run)] == [100, 200]
    assert [step.usage and step.usage.completion_tokens for step in turns(run)] == [20, 5]
    assert [step.model for step in turns(run)] == [MODEL, MODEL]
    assert (run.usage.prompt_tokens, run.usage.llm_call_count) == (300, 2)
    kept = recorded(run)
    assert kept.reward == 1.0
    assert KEY not in run.trace.model_dump_json()


async def test_without_a_network_a_unix_socket_will_do() -> None:
    need_isolation("uid")
    env = Environment("mend-by-uid")
    shell = env.workspace(files=EXAMPLE / "project", isolation="uid")

    @env.template()
    async def fix() -> AsyncGenerator[Any, Any]:
        yield "Mend prices.py until the test of `total` passes."
        yield float(" - 1\n" not in shell.read_text("prices.py"))

    mend = "sed -i 's/ - 1$//' prices.py && echo mended"
    async with ModelServer(commanding(mend), api_key=KEY) as server:
        run = await rollout(fix(), own(server, isolation="uid"), runtime=LocalRuntime(env))
    assert (run.outcome, run.reward) == (Outcome.GRADED, 1.0), run.trace.error
    assert str(run.trace.content).strip() == "mended"
    assert len(turns(run)) == 2 and all(step.usage for step in turns(run))


LOOK = f"""
import os, sys
found = []
for name, word in (("key", {KEY[:12]!r} + {KEY[12:]!r}), ("token", "hud-" + "run-")):
    word = word.encode()
    if any(word in value.encode() for value in os.environ.values()):
        found.append(name + " in env")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for part in ("environ", "cmdline", "mem"):
            path = "/proc/%s/%s" % (pid, part)
            try:
                with open(path, "rb") as file:
                    if part != "mem":
                        data = file.read()
                    elif pid == str(os.getpid()):
                        continue
                    else:
                        data = b""
                        for line in open("/proc/%s/maps" % pid):
                            span, rights = line.split()[:2]
                            if rights.startswith("rw"):
                                start, end = (int(n, 16) for n in span.split("-"))
                                try:
                                    file.seek(start)
                                    data += file.read(end - start)
                                except (OSError, ValueError, OverflowError):
                                    pass
            except OSError:
                continue
            if word in data:
                found.append(name + " in " + part)
    for folder in ("/home", "/tmp", "/workspace", "/etc", "/run", "/var/tmp"):
        for where, _, names in os.walk(folder):
            for file in names:
                try:
                    with open(os.path.join(where, file), "rb") as held:
                        if word in held.read(1 << 20):
                            found.append(name + " in " + os.path.join(where, file))
                except OSError:
                    pass
print(sorted(set(found)))
"""


async def test_the_providers_key_is_nowhere_in_the_sandbox(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    command = f"python3 -c {shlex.quote(LOOK)}"
    async with ModelServer(commanding(command), api_key=KEY) as server:
        run = await mend_example(claude(server, api_key=None))
    assert run.outcome is Outcome.GRADED, run.trace.error
    found = str(run.trace.content)
    assert "token in env" in found, "what looks for it finds what is there"
    assert "key in" not in found


async def test_other_tokens_other_models_and_more_calls_are_refused_inside() -> None:
    asking = """
import json, os, urllib.error, urllib.request
def ask(token, model, path="/v1/messages"):
    body = json.dumps({"model": model, "max_tokens": 9,
                       "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"x-api-key": token, "content-type": "application/json"}
    url = os.environ["ANTHROPIC_BASE_URL"] + path
    try:
        return urllib.request.urlopen(urllib.request.Request(url, body, headers)).status
    except urllib.error.HTTPError as error:
        return [error.code, json.loads(error.read())["error"]["message"]]
token = os.environ["ANTHROPIC_AUTH_TOKEN"]
print(json.dumps([ask("guessed", "the-model"), ask(token, "dear-model"), ask(token, "the-model"),
                  ask(token, "the-model"), ask(token, "the-model", "/v1/files")]))
"""
    command = f"python3 -c {shlex.quote(asking)} > said.json"
    async with ModelServer(commanding(command), api_key=KEY) as server:
        env = Environment("asked-inside")
        shell = env.workspace(python=True)

        @env.template()
        async def ask() -> AsyncGenerator[Any, Any]:
            yield "Ask."
            yield {"score": 1.0, "content": shell.read_text("said.json")}

        need_isolation("bwrap")
        run = await rollout(ask(), claude(server, max_steps=2), runtime=LocalRuntime(env))
        assert server.received == 2
    assert (run.outcome, run.trace.stop_reason) == (Outcome.GRADED, "max_steps"), run.trace.error
    said = str(run.grade.content)
    assert "[401," in said and "token of this run" in said
    assert "[403," in said and "may not use the model 'dear-model', only the-model" in said
    assert "200, [429," in said and "budget of this run is used up: 2 model calls" in said
    assert "[404," in said


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_steps": 1}, "max_steps"),
        ({"max_total_tokens": 120}, "max_tokens"),
        ({"max_cost_usd": 1e-9, "model": "claude-sonnet-4-6"}, "max_cost"),
    ],
)
async def test_a_run_that_reaches_its_budget_is_graded_on_what_it_left(
    settings: dict[str, Any], reason: str
) -> None:
    async with ModelServer(mending, api_key=KEY) as server:
        agent = claude(server, **settings)
        if reason == "max_cost":
            agent.inner._endpoint = priced(server)  # pyright: ignore[reportPrivateUsage]
        run = await mend_example(agent)
    # The project was mended by the one command there was money for.
    assert (run.outcome, run.reward) == (Outcome.GRADED, 1.0), run.trace.error
    assert run.trace.stop_reason == reason and len(turns(run)) == 1


def priced(server: ModelServer) -> Any:
    from hud.models.endpoint import Endpoint

    return Endpoint(server.base_url("messages"), KEY, provider="anthropic")


async def test_one_that_goes_on_beyond_its_budget_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_module, "_LAST_WORD_S", 0.05)
    script = stand_ins.OWN.replace("sys.exit(1)", "__import__('time').sleep(3600)")
    async with ModelServer(mending, api_key=KEY) as server:
        agent = own(server, max_steps=1)
        agent.script = script
        run = await mend_example(agent)
    assert (run.outcome, run.trace.stop_reason) == (Outcome.GRADED, "max_steps"), run.trace.error


async def test_a_task_row_sets_its_budget_but_not_where_calls_go() -> None:
    async with ModelServer(mending, api_key=KEY) as server:
        run = await mend_example(claude(server), max_steps=1)
        assert run.trace.stop_reason == "max_steps"
        for name, value in (("base_url", "http://elsewhere"), ("models", ["dear-model"])):
            run = await mend_example(claude(server), **{name: value})
            assert_ungraded(run, Outcome.AGENT, f"may not set {name}")


@pytest.mark.parametrize("name", MAKERS)
async def test_a_model_api_that_is_down_is_a_model_fault(name: str) -> None:
    async with ModelServer(mending, api_key=KEY) as server:
        agent = MAKERS[name](server, model_retries=0)
    assert_ungraded(await mend_example(agent), Outcome.MODEL, "cannot be reached")


@pytest.mark.parametrize(
    ("failing", "says"),
    [
        (ApiError(401, "no such key"), "status 401"),
        (HangUp(), "broke off"),
        (ApiError(500, "sorry"), "status 500"),
    ],
)
async def test_an_api_that_fails_half_way_is_a_model_fault(failing: Any, says: str) -> None:
    def rule(question: Question) -> Any:
        return mending(question) if question.turn == 0 else failing

    async with ModelServer(rule) as server:
        run = await mend_example(claude(server, model_retries=0))
    assert_ungraded(run, Outcome.MODEL, says)


async def test_a_conversation_that_does_not_fit_is_graded() -> None:
    def rule(question: Question) -> Any:
        said = ApiError(400, "prompt is too long: 200001 tokens > 200000 maximum")
        return mending(question) if question.turn == 0 else said

    async with ModelServer(rule) as server:
        run = await mend_example(claude(server))
    assert (run.outcome, run.reward) == (Outcome.GRADED, 1.0), run.trace.error
    assert run.trace.stop_reason == "context_overflow"


async def test_a_program_that_is_missing_is_named_with_how_to_get_it() -> None:
    async with ModelServer(mending) as server:
        config = ClaudeCLIConfig(model=MODEL, base_url=server.base_url("messages"))
        config = config.model_copy(
            update={"command": CLAUDE_CODE.model_copy(update={"argv": ("no-such-claude",)})}
        )
        run = await mend_example(cast("Any", ClaudeCLIAgent(config)))
        assert server.received == 0
    assert_ungraded(run, Outcome.AGENT, "Claude Code is not installed in the workspace")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; sys.exit('it broke by itself')", "exited with status 1: it broke by itself"),
        ("print('{\"answer\": 1}')", "ended without asking a model"),
        ("import os; os.abort()", "Own"),
    ],
)
async def test_a_program_that_fails_by_itself_is_the_harness_fault(script: str, says: str) -> None:
    async with ModelServer(mending) as server:
        agent = own(server)
        agent.script = f"#!/usr/bin/env python3\n{script}\n"
        assert_ungraded(await mend_example(agent), Outcome.AGENT, says)


async def test_a_model_that_kills_its_own_program_is_graded() -> None:
    async with ModelServer(commanding(f"{TOTAL}; kill -9 $PPID; sleep 60")) as server:
        run = await mend_example(claude(server))
    assert (run.outcome, run.reward) == (Outcome.GRADED, 1.0), run.trace.error
    assert "killed inside the workspace" in str(run.trace.extra["ended"])


async def test_a_prompt_may_come_as_a_file() -> None:
    script = stand_ins.OWN.replace("sys.argv[1:4]", "*sys.argv[1:3], open(sys.argv[3]).read()")
    async with ModelServer(mending, api_key=KEY) as server:
        agent = own(server)
        command = agent.inner.config.command
        argv = (*command.argv[:-1], "{prompt_file}")
        changed = command.model_copy(update={"argv": argv, "prompt": "file"})
        agent.inner.config = agent.inner.config.model_copy(update={"command": changed})
        agent.script = script
        run = await mend_example(agent)
        assert "Mend prices.py" in server.requests[0].body["messages"][0]["content"]
    assert run.reward == 1.0, run.trace.error


async def test_a_missing_key_is_said_before_anything_runs() -> None:
    for agent in (ClaudeCLIAgent(), CodexCLIAgent()):
        with pytest.raises(InputError, match="no key for"):
            agent.check_ready()


def test_keys_and_names_of_before() -> None:
    agent = ClaudeCLIAgent(ClaudeCLIConfig(api_key=KEY, base_url="http://me:word@host/"))
    assert KEY not in str(agent.describe()) and "word" not in str(agent.describe())
    assert command_line.ClaudeSDKAgent is ClaudeCLIAgent
    assert command_line.ClaudeSDKConfig is ClaudeCLIConfig
    assert (agent.name, agent.model) == ("ClaudeCLIAgent", "claude-sonnet-4-6")
