"""Agents made from a name and settings, as the command line asks for them."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import hud.agents
from hud._core.errors import InputError
from hud.agents import (
    Agent,
    ClaudeAgent,
    ClaudeCLIAgent,
    CodexCLIAgent,
    GeminiAgent,
    HumanAgent,
    NoopAgent,
    OpenAIAgent,
    OpenAIChatAgent,
    OracleAgent,
    create_agent,
)
from hud.agents import create as module
from hud.agents.browser_use import BrowserUseAgent
from hud.agents.create import AGENT_KINDS, make_agent, parse_config
from hud.agents.run import Run
from hud.agents.types import AgentType
from tests.bare import forget_settings

OWN = """
from hud.agents import Agent, OpenAIChatAgent

class Mine(Agent):
    def __init__(self, model="m", shout=False):
        self.model_given, self.shout = model, shout
    async def __call__(self, run):
        run.trace.content = "hey"

class Chatty(OpenAIChatAgent):
    pass

class Broken(Agent):
    def __init__(self):
        raise RuntimeError("no disk")
    async def __call__(self, run):
        pass

ready = Mine("given")

async def function(run):
    return "from a function"

def plain(run):
    return "not async"

number = 3
"""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    forget_settings(monkeypatch)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def test_every_name_makes_its_agent() -> None:
    made = {kind: type(make_agent(kind, source="env.py")) for kind in AGENT_KINDS}
    assert made == {
        "claude": ClaudeAgent,
        "openai": OpenAIAgent,
        "gemini": GeminiAgent,
        "openai_compatible": OpenAIChatAgent,
        "claude_cli": ClaudeCLIAgent,
        "codex_cli": CodexCLIAgent,
        "browser_use": BrowserUseAgent,
        "oracle": OracleAgent,
        "noop": NoopAgent,
        "human": HumanAgent,
    }
    assert {kind.value for kind in AgentType} <= set(AGENT_KINDS)


def test_settings_of_the_command_line_become_the_configuration() -> None:
    config = parse_config(
        [
            "base_url=http://localhost:1/v1",
            "max_steps=5",
            "system_prompt=be brief = short",
            'stop_on=["length"]',
            "completion_kwargs.temperature=0.5",
            "completion_kwargs.stop=END",
        ]
    )
    agent = make_agent("openai_compatible", model="m", config=config)
    assert isinstance(agent, OpenAIChatAgent)
    assert (agent.config.model, agent.model, agent.config.max_steps) == ("m", "m", 5)
    assert agent.config.system_prompt == "be brief = short"
    assert agent.config.stop_on == {"length"}
    assert agent.completion_kwargs == {"temperature": 0.5, "stop": "END"}


def test_text_that_looks_like_a_number_stays_text_where_text_is_wanted() -> None:
    agent = make_agent("openai_compatible", config=parse_config(["model=4", "api_key=123456"]))
    assert isinstance(agent, OpenAIChatAgent)
    assert (agent.config.model, agent.config.api_key) == ("4", "123456")


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["modle=x"], r"openai_compatible: unknown setting 'modle' \(known: .*base_url"),
        (["max_steps=many"], "openai_compatible: setting max_steps = many: "),
        (["timeout_seconds=-1"], "setting timeout_seconds = -1: .*greater than 0"),
        (["system_prompt=[1]"], "setting system_prompt"),
        (["completion_kwargs.stream=true"], "completion_kwargs: 'stream' is set by the agent"),
    ],
)
def test_a_setting_that_cannot_be_is_named(pairs: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_agent("openai_compatible", config=parse_config(pairs))


@pytest.mark.parametrize("pair", ["novalue", "=x", " =x"])
def test_a_pair_without_a_key_or_a_value_is_refused(pair: str) -> None:
    with pytest.raises(InputError, match="is not key=value"):
        parse_config([pair])


def test_a_dotted_key_into_text_is_refused() -> None:
    with pytest.raises(InputError, match="model is no mapping"):
        parse_config(["model=a", "model.b=1"])


@pytest.mark.parametrize("kind", ["oracle", "noop", "human"])
def test_an_agent_without_settings_refuses_all_but_the_offer_of_steps(kind: str) -> None:
    make_agent(kind, config={"max_steps": 100})
    with pytest.raises(InputError, match=f"{kind} takes no setting 'model'"):
        make_agent(kind, model="m")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown agent 'nobody'") as caught:
        make_agent("nobody")
    assert all(kind in (caught.value.hint or "") for kind in AGENT_KINDS)


@pytest.mark.parametrize("target", ["own.py", "own", "./own.py"])
def test_an_agent_class_of_ones_own_gets_the_settings(target: str) -> None:
    agent: Any = make_agent(f"{target}:Mine", model="x", config={"shout": True, "max_steps": 3})
    assert (type(agent).__name__, agent.model_given, agent.shout) == ("Mine", "x", True)


def test_an_agent_class_built_on_ours_gets_a_configuration() -> None:
    agent: Any = make_agent("own.py:Chatty", model="x", config={"max_steps": 3})
    assert isinstance(agent, OpenAIChatAgent)
    assert (agent.config.model, agent.config.max_steps) == ("x", 3)


async def test_an_instance_and_an_async_function_are_taken_as_they_are() -> None:
    instance: Any = make_agent("own.py:ready")
    assert instance.model_given == "given"
    function = make_agent("own.py:function", config={"max_steps": 3})
    assert isinstance(function, Agent)
    assert await function(Run(None, "", {})) == "from a function"


def test_an_importable_module_serves_too(bare: Path) -> None:
    package = bare / "some_package_of_agents"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mine.py").write_text(OWN)
    assert make_agent("some_package_of_agents.mine:ready").name == "Mine"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("own.py:missing", "own.py has no 'missing'"),
        ("own.py:plain", "own.py:plain is no agent"),
        ("own.py:number", "own.py:number is no agent but 3"),
        ("own.py:Broken", "own.py:Broken raised RuntimeError: no disk"),
        ("gone.py:Mine", "gone.py does not exist"),
        ("no_such_module.at_all:Mine", "'no_such_module.at_all' cannot be imported"),
    ],
)
def test_what_is_wrong_with_ones_own_agent_is_said(kind: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_agent(kind)


def test_settings_ones_own_agent_does_not_take_are_refused() -> None:
    with pytest.raises(InputError, match="unexpected keyword argument 'size'"):
        make_agent("own.py:Mine", config={"size": 3})
    with pytest.raises(InputError, match="takes no setting 'size'"):
        make_agent("own.py:ready", config={"size": 3})


def test_another_package_offers_agents_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("idle", "hud.agents.noop:NoopAgent", "hud.agents"),
        EntryPoint("bad", "hud.agents.noop:Nothing", "hud.agents"),
    ]
    monkeypatch.setattr(module, "_offered", lambda: points)
    assert isinstance(make_agent("idle"), NoopAgent)
    with pytest.raises(InputError, match=r"agent bad \(hud.agents.noop:Nothing\) cannot be loaded"):
        make_agent("bad")
    with pytest.raises(InputError) as caught:
        make_agent("other")
    assert "bad, idle" in (caught.value.hint or "")


def test_a_model_name_goes_to_the_gateway_with_the_hud_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUD_GATEWAY_URL", "http://gateway")
    monkeypatch.setenv("HUD_API_KEY", "hud-key-for-tests")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "provider-key-for-tests")
    agent = create_agent("claude-sonnet-4-5", max_steps=3)
    assert isinstance(agent, ClaudeAgent)
    assert (agent.config.model, agent.config.max_steps) == ("claude-sonnet-4-5", 3)
    endpoint = agent.endpoint
    assert (endpoint.base_url, endpoint.api_key) == ("http://gateway", "hud-key-for-tests")
    assert endpoint.is_gateway
    direct = create_agent("claude-sonnet-4-5", gateway=False).endpoint
    assert (direct.api_key, direct.is_gateway) == ("provider-key-for-tests", False)


@pytest.mark.parametrize("gateway", [True, False])
def test_a_model_nobody_knows_is_trusted_to_a_configured_address(
    monkeypatch: pytest.MonkeyPatch, gateway: bool
) -> None:
    if gateway:
        monkeypatch.setenv("HUD_GATEWAY_URL", "http://elsewhere/v1")
        monkeypatch.setenv("HUD_API_KEY", "hud-key-for-tests")
    else:
        monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    agent = create_agent("my-own-model")
    assert isinstance(agent, OpenAIChatAgent)
    assert (agent.config.model, agent.endpoint.base_url) == ("my-own-model", "http://elsewhere/v1")
    assert agent.endpoint.is_gateway is gateway


def test_a_model_nobody_knows_and_nobody_serves_is_refused() -> None:
    with pytest.raises(InputError, match="my-own-model"):
        create_agent("my-own-model")


@pytest.mark.parametrize(
    ("model", "agent", "variable"),
    [
        ("claude-sonnet-4-6", "ClaudeAgent", "ANTHROPIC_API_KEY"),
        ("gpt-5.6", "OpenAIAgent", "OPENAI_API_KEY"),
        ("gemini-3.1-pro-preview", "GeminiAgent", "GEMINI_API_KEY"),
        ("grok-4", "OpenAIChatAgent", "XAI_API_KEY"),
    ],
)
def test_a_provider_key_alone_serves_that_providers_models(
    monkeypatch: pytest.MonkeyPatch, model: str, agent: str, variable: str
) -> None:
    with pytest.raises(InputError, match="no key for") as caught:
        create_agent(model)
    assert variable in (caught.value.hint or "")
    monkeypatch.setenv(variable, "provider-key-for-tests")
    made = create_agent(model)
    assert type(made).__name__ == agent
    assert made.endpoint.api_key == "provider-key-for-tests"
    by_name = make_agent(model)
    assert (type(by_name).__name__, by_name.model) == (agent, made.config.model)


def test_a_models_name_in_an_agents_place_leaves_no_room_for_another() -> None:
    with pytest.raises(InputError, match="names a model already"):
        make_agent("gpt-5.6", model="gpt-5.4-mini")


@pytest.mark.parametrize("name", ["api_key", "base_url", "max_stepz"])
def test_create_agent_takes_neither_addresses_nor_unknown_settings(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        create_agent("gpt-5.4-mini", **{name: "x"})


def test_everything_the_package_lists_can_be_imported() -> None:
    assert all(getattr(hud.agents, name) is not None for name in hud.agents.__all__)
    assert set(hud.agents.__all__) <= set(dir(hud.agents))
    with pytest.raises(AttributeError, match="NoSuchAgent"):
        _ = hud.agents.NoSuchAgent


CONFIGURED = """
from hud.agents import Agent
from hud.agents.types import AgentConfig

class MyConfig(AgentConfig):
    greeting: str = "hello"

class Mine(Agent[MyConfig]):
    config_cls = MyConfig

    async def __call__(self, run):
        return self.config.greeting
"""


def test_an_agent_of_the_users_own_takes_its_settings_through_its_configuration(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(CONFIGURED)
    agent = make_agent(f"{file}:Mine", model=None, config={"greeting": "hi"}, source=None)
    assert agent.config.model_dump()["greeting"] == "hi"
    assert agent.model is None
    with pytest.raises(InputError, match="nonsense"):
        make_agent(f"{file}:Mine", model=None, config={"nonsense": 1}, source=None)
