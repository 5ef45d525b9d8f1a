"""A model's name says who serves it, in which dialect and what it can do; files say more."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud.agents.types import ClaudeConfig, GeminiConfig, OpenAIConfig
from hud.models.catalog import (
    Price,
    UnknownModel,
    load_catalog,
    resolve_model,
)
from hud.models.provider import OPENAI, Dialect
from tests.unit.models.bare import make_bare


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return make_bare(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("asked", "agent", "provider", "sent"),
    [
        ("claude-sonnet-4-5", "claude", "anthropic", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5-20250929", "claude", "anthropic", "claude-sonnet-4-5-20250929"),
        ("claude-whatever-comes-next", "claude", "anthropic", "claude-whatever-comes-next"),
        ("gpt-5.6", "openai", "openai", "gpt-5.6"),
        ("o4-mini", "openai", "openai", "o4-mini"),
        ("chatgpt-4o-latest", "openai", "openai", "chatgpt-4o-latest"),
        ("ft:gpt-4o-2024-08-06:me::1", "openai", "openai", "ft:gpt-4o-2024-08-06:me::1"),
        ("gemini-3.1-pro-preview", "gemini", "google", "gemini-3.1-pro-preview"),
        ("grok-4-1-fast", "openai_compatible", "xai", "grok-4-1-fast"),
        ("MiniMax-M3", "openai_compatible", "minimax", "MiniMax-M3"),
        ("z-ai/glm-5.2", "openai_compatible", "openrouter", "z-ai/glm-5.2"),
        ("openrouter/z-ai/glm-5.2", "openai_compatible", "openrouter", "z-ai/glm-5.2"),
        ("anthropic/claude-opus-4-8", "claude", "anthropic", "claude-opus-4-8"),
        ("ollama/llama3.2:1b", "openai_compatible", "ollama", "llama3.2:1b"),
        ("vllm/Qwen/Qwen3-8B", "openai_compatible", "vllm", "Qwen/Qwen3-8B"),
        ("groq/openai/gpt-oss-120b", "openai_compatible", "groq", "openai/gpt-oss-120b"),
    ],
)
def test_a_name_alone_says_which_agent_and_provider(
    asked: str, agent: str, provider: str, sent: str
) -> None:
    model = resolve_model(asked)
    assert (model.agent_kind, model.provider.name, model.name) == (agent, provider, sent)
    assert model.asked == asked


def test_the_short_names_are_what_the_agents_drive_unless_told() -> None:
    assert resolve_model("claude").name == ClaudeConfig().model
    assert resolve_model("openai").name == OpenAIConfig().model
    assert resolve_model("gemini").name == GeminiConfig().model


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("claude-opus-4-1", "computer_20250124"),
        ("claude-sonnet-4-20250514", "computer_20250124"),
        ("claude-haiku-4-5-20251001", "computer_20250124"),
        ("claude-opus-4-5-20251101", "computer_20251124"),
        ("claude-sonnet-4-6", "computer_20251124"),
        ("claude-sonnet-5-5", "computer_toolset_20260801"),
        ("claude-3-5-sonnet-20241022", None),
        ("gpt-5.6", "computer"),
        ("gpt-5.2", None),
        ("gpt-4o", None),
        ("computer-use-preview", "computer_use_preview"),
        ("gemini-2.5-computer-use-preview-10-2025", "computer_use"),
        ("gemini-3.1-pro-preview", "computer_use"),
        ("gemini-2.5-flash", None),
        ("openrouter/anthropic/claude-sonnet-4.5", None),
    ],
)
def test_each_model_is_given_the_computer_tool_it_was_trained_on(
    name: str, tool: str | None
) -> None:
    assert resolve_model(name).tools.computer == tool


def test_what_nobody_published_is_none_and_not_a_guess() -> None:
    unknown = resolve_model("vllm/my-own-model")
    assert (unknown.images, unknown.reasoning, unknown.context_window) == (None, None, None)
    known = resolve_model("claude-sonnet-4-5-20250929")
    assert (known.images, known.reasoning, known.context_window) == (True, True, 200_000)


def test_a_namesake_at_another_provider_inherits_nothing() -> None:
    elsewhere = resolve_model("together/gpt-5.6")
    assert elsewhere.dialect is Dialect.CHAT
    assert (elsewhere.context_window, elsewhere.tools.shell) == (None, None)


def test_every_listed_model_is_served_by_someone_and_cannot_be_changed() -> None:
    names = load_catalog().names
    assert len(names) > 50
    for name in names:
        model = resolve_model(name)
        assert model.name == name
        assert model.provider.key_variables
    with pytest.raises(dataclasses.FrozenInstanceError):
        resolve_model("claude").name = "x"  # type: ignore[misc]


def test_an_unknown_name_lists_near_ones_and_how_to_add_one(home: Path) -> None:
    with pytest.raises(UnknownModel, match=r"no model 'gpt5\.6' is known") as caught:
        resolve_model("gpt5.6")
    hint = caught.value.hint or ""
    assert hint.startswith("did you mean gpt-5.6")
    assert "openai_compatible --model gpt5.6 --config base_url=" in hint
    assert str(home / "models.toml") in hint


@pytest.mark.parametrize("name", ["", " ", "claude sonnet", "gpt-5\n", "/x", "ollama/", "nobody/x"])
def test_what_can_be_no_model_is_unknown_too(name: str) -> None:
    with pytest.raises(UnknownModel):
        resolve_model(name)


OWN = """
[aliases]
fast = "house/tiny"

[providers.house]
base_url = "http://10.0.0.7:8000/v1"

[providers.openai]
base_url = "https://proxy.example/v1"

[[models]]
name = "tiny"
provider = "house"
context_window = 8192
images = false
price = { input = 0.5, output = 2 }

[[models]]
name = "claude-sonnet-4-6"
context_window = 500_000
tools.computer = false
"""


def test_ones_own_file_adds_models_and_providers(home: Path) -> None:
    (home / "models.toml").write_text(OWN)
    for name in ("tiny", "house/tiny", "fast"):
        model = resolve_model(name)
        assert (model.name, model.provider.name, model.dialect) == ("tiny", "house", Dialect.CHAT)
        assert (model.context_window, model.images) == (8192, False)
        assert model.price == Price(0.5, 2.0)
    assert not model.provider.needs_key
    assert "tiny" in load_catalog().names


def test_ones_own_file_changes_only_what_it_says(home: Path) -> None:
    (home / "models.toml").write_text(OWN)
    model = resolve_model("claude-sonnet-4-6")
    assert (model.context_window, model.tools.computer) == (500_000, None)
    assert (model.images, model.tools.shell) == (True, "bash_20250124")
    proxied = load_catalog().providers[OPENAI.name]
    assert proxied.base_url == "https://proxy.example/v1"
    assert proxied.key_variables == ("OPENAI_API_KEY",)


def test_a_file_named_by_the_variable_lies_over_the_one_at_home(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "models.toml").write_text(OWN)
    other = tmp_path / "other.toml"
    other.write_text('[[models]]\nname = "tiny"\ncontext_window = 4096\n')
    monkeypatch.setenv("HUD_MODELS_FILE", str(other))
    tiny = resolve_model("tiny")
    assert (tiny.context_window, tiny.images) == (4096, False)
    monkeypatch.setenv("HUD_MODELS_FILE", str(tmp_path / "gone.toml"))
    with pytest.raises(InputError, match=r"gone\.toml cannot be read: No such file"):
        resolve_model("claude")


def test_a_file_that_changes_is_read_again(home: Path) -> None:
    assert load_catalog() is load_catalog()
    (home / "models.toml").write_text('[aliases]\nbest = "gpt-5.6"\n')
    assert resolve_model("best").name == "gpt-5.6"
    (home / "models.toml").write_text('[aliases]\nbest = "gpt-5.6-sol"\n')
    assert resolve_model("best").name == "gpt-5.6-sol"
    (home / "models.toml").unlink()
    with pytest.raises(UnknownModel):
        resolve_model("best")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[aliases\n", r"is not TOML: .*line 1"),
        ("\n\nx = = 1", r"is not TOML: .*line 3"),
        ('modles = "x"', "modles is not known here"),
        ('[[models]]\nname = "m"\nwindow = 1', "models.'m'.window is not known here"),
        ('[[models]]\nname = "m"\ncontext_window = 0', "models.'m'.context_window = 0: "),
        ('[[models]]\nname = "m"\nimages = "yes"', "models.'m'.images = yes: "),
        ('[[models]]\nname = "m"\nprice = { input = 1 }', "models.'m'.price.output is missing"),
        ('[[models]]\nname = "m"\nprice = { input = -1, output = 1 }', "price.input = -1"),
        ('[[models]]\nname = "m"\nprice = { input = nan, output = 1 }', "price.input = nan"),
        ('[[models]]\nname = "m"\ntools.computer = true', "models.'m'.tools.computer"),
        ('[[models]]\nname = "m m"', "name = 'm m' has characters"),
        ('[[models]]\nname = "m"\nmatch = "m*"', "either a name or a match"),
        ("[[models]]\nimages = true", "either a name or a match"),
        ('[[models]]\nname = "m"\nprovider = "nobody"', "names the provider 'nobody'"),
        ('[[models]]\nname = "m"\ndialect = "soap"', "models.'m'.dialect = soap"),
        ("models = 3", "models = 3"),
        ("models = [3]", "models.row 1 = 3: it should be a table"),
        ("[providers.p]\ndialect = 'chat'", "providers.p has no base_url"),
        (
            "[providers.p]\nbase_url = 'localhost:1'",
            "providers.p.base_url = 'localhost:1' is no HTTP address",
        ),
        ("[providers.p]\nkey_variables = ['A B']", r"providers.p.key_variables.0 = 'A B' has"),
    ],
)
def test_a_bad_file_is_one_sentence_with_its_path_and_place(
    home: Path, text: str, said: str
) -> None:
    (home / "models.toml").write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        resolve_model("claude")
    assert str(home / "models.toml") in caught.value.message
    assert "\n" not in caught.value.message


def test_a_file_that_is_no_text_is_refused(home: Path) -> None:
    (home / "models.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        resolve_model("claude")


def test_a_row_without_a_provider_says_what_it_lacks(home: Path) -> None:
    (home / "models.toml").write_text('[[models]]\nname = "mine"\nimages = true\n')
    with pytest.raises(UnknownModel, match="does not say who serves 'mine'"):
        resolve_model("mine")
    assert resolve_model("vllm/mine").images is True
