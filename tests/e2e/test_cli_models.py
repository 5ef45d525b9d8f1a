"""`hud models` shows what is known, what it costs and where a key is missing: never the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.hud_command import Shell
from tests.platform_models import KEY as HUD_KEY
from tests.platform_models import platform, row

KEY = "sk-this-key-must-stay-secret-0123456789"
OWN = """
[[models]]
name = "tiny"
provider = "vllm"
context_window = 8192
price = { input = 0.5, output = 2 }
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    for name in [name for name in shell.env if name.endswith(("_API_KEY", "_BASE_URL"))]:
        del shell.env[name]
    return shell


def test_the_list_says_who_serves_each_model_and_which_key_is_set(shell: Shell) -> None:
    shell.env["ANTHROPIC_API_KEY"] = KEY
    shell("set", f"XAI_API_KEY={KEY}x")
    listed = shell("models", "list", "--json")
    assert listed.code == 0, listed.err
    models = {model["name"]: model for model in listed.data["models"]}
    sonnet, gpt, grok = (models[name] for name in ("claude-sonnet-4-6", "gpt-5.6", "grok-4"))
    assert (sonnet["agent"], sonnet["dialect"], sonnet["provider"]) == (
        "claude",
        "messages",
        "anthropic",
    )
    assert (sonnet["key_variable"], sonnet["key_set"]) == ("ANTHROPIC_API_KEY", True)
    assert sonnet["context_window"] == 1_000_000
    assert sonnet["price_usd_per_million"]["output"] > sonnet["price_usd_per_million"]["input"] > 0
    assert (gpt["key_variable"], gpt["key_set"]) == ("OPENAI_API_KEY", False)
    assert (grok["key_variable"], grok["key_set"]) == ("XAI_API_KEY", True)
    assert listed.data["aliases"]["claude"] == "claude-sonnet-4-6"
    assert KEY not in listed.out + listed.err


def test_the_table_is_the_same_with_and_without_the_word_list(shell: Shell) -> None:
    shell.home.mkdir()
    (shell.home / "models.toml").write_text(OWN)
    table = shell("models")
    assert table.out == shell("models", "list").out
    header, first, *_ = table.out.splitlines()
    assert header.split()[:6] == ["MODEL", "DIALECT", "PROVIDER", "KEY", "SET", "CONTEXT"]
    assert " ".join(first.split()) == "tiny chat vllm VLLM_API_KEY no need 8,192 0.5 2"
    assert "ollama" in table.err


def test_one_model_is_shown_with_where_it_would_be_asked(shell: Shell) -> None:
    shell.env["ANTHROPIC_API_KEY"] = KEY
    shown = shell("models", "show", "claude", "--json").data
    assert (shown["asked"], shown["name"]) == ("claude", "claude-sonnet-4-6")
    assert shown["tools"]["computer"] == "computer_20251124"
    assert shown["base_url"] == "https://api.anthropic.com"
    text = shell("models", "show", "ollama/llama3.2")
    assert "http://127.0.0.1:11434/v1" in text.out
    assert "n/a" in text.out


def test_a_model_without_a_key_is_shown_and_the_missing_key_said(shell: Shell) -> None:
    shown = shell("models", "show", "grok-4")
    assert shown.code == 0
    assert "XAI_API_KEY (not set)" in shown.out
    assert "hud set XAI_API_KEY" in shown.err


def test_an_unknown_model_and_a_bad_file_are_bad_input(shell: Shell) -> None:
    unknown = shell("models", "show", "gpt5.6")
    assert unknown.code == 2
    assert "did you mean gpt-5.6" in unknown.err
    shell.home.mkdir(exist_ok=True)
    (shell.home / "models.toml").write_text("[[models]]\nname = 3\n")
    bad = shell("models", "--json")
    assert (bad.code, bad.out) == (2, "")
    assert "models.toml: models.row 1.name = 3: it should be a valid string" in bad.err


def test_options_before_a_subcommand_are_not_silently_dropped(shell: Shell) -> None:
    assert shell("models", "--json", "show", "claude").code == 2


def test_what_a_platform_serves_is_listed_and_shown(shell: Shell) -> None:
    rows = [row(f"acme/m{index}", name=f"Model {index}", provider="acme") for index in range(120)]
    with platform(*rows) as served:
        shell.env |= {"HUD_API_URL": served.url, "HUD_API_KEY": HUD_KEY, "NO_PROXY": "127.0.0.1"}
        shell.env["HUD_GATEWAY_URL"] = f"{served.url}/inference"
        listed = shell("models", "list", "--platform", "--json")
        shown = shell("models", "show", "Model 119", "--json")
        table = shell("models", "--platform")
    assert listed.code == 0, listed.err
    assert len(listed.data["models"]) == 120
    assert "acme/m119" in table.out
    assert (shown.data["name"], shown.data["hosted"]) == ("acme/m119", True)
    assert shown.data["base_url"] == f"{served.url}/inference"
    assert shown.data["price_usd_per_million"] is None
    gone = shell("models", "list", "--platform")
    assert gone.code == 1
    assert "cannot be reached" in gone.err
    assert HUD_KEY not in gone.err
