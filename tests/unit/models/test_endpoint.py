"""Every provider's key is found wherever settings come from, and goes to nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud._core.settings import save_setting
from hud.models.catalog import load_catalog, resolve_model
from hud.models.endpoint import endpoint_for
from hud.models.failure import CallFailure
from hud.models.provider import GOOGLE, OPENAI
from tests.unit.models.bare import make_bare

KEY = "a-key-that-belongs-here-1"
OTHER = "a-key-that-belongs-elsewhere-2"
KEYED = [row.name for row in load_catalog().providers.values() if row.needs_key]
KEYLESS = [row.name for row in load_catalog().providers.values() if not row.needs_key]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return make_bare(monkeypatch, tmp_path)


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.parametrize("place", ["environment", "here", "home", "saved"])
def test_a_providers_key_is_found_in_every_place(
    name: str, place: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = load_catalog().providers[name]
    variable = provider.key_variables[-1]
    match place:
        case "environment":
            monkeypatch.setenv(variable, KEY)
        case "here":
            Path(".env").write_text(f"{variable}={KEY}\n")
        case "home":
            (home / ".env").write_text(f"{variable}={KEY}\n")
        case _:
            save_setting({variable: KEY})
    endpoint = endpoint_for(provider)
    assert (endpoint.base_url, endpoint.api_key) == (provider.base_url, KEY)
    assert (endpoint.provider, endpoint.key_variable) == (name, variable)
    assert KEY not in repr(endpoint)


@pytest.mark.parametrize("name", KEYED)
def test_a_missing_key_names_its_variable_and_the_ways_to_give_it(name: str) -> None:
    provider = load_catalog().providers[name]
    with pytest.raises(InputError, match=f"no key for {provider.label}") as caught:
        endpoint_for(provider)
    for variable in provider.key_variables:
        assert variable in caught.value.message
    for way in ("export ", "hud set ", "--gateway", "HUD_GATEWAY_URL", str(provider.url_variable)):
        assert way in (caught.value.hint or "")


@pytest.mark.parametrize("name", KEYLESS)
def test_a_server_of_ones_own_needs_no_key_and_is_never_left_for_the_gateway(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_GATEWAY_URL", "http://gateway")
    monkeypatch.setenv("HUD_API_KEY", "hud-key-for-tests")
    provider = load_catalog().providers[name]
    endpoint = endpoint_for(provider)
    assert (endpoint.base_url, endpoint.api_key) == (provider.base_url, "unused")
    assert endpoint_for(provider, gateway=True).is_gateway


def test_the_environment_wins_over_a_file_and_the_nearer_file_over_the_one_at_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    xai = load_catalog().providers["xai"]
    (home / ".env").write_text("XAI_API_KEY=from-home-1\n")
    assert endpoint_for(xai).api_key == "from-home-1"
    Path(".env").write_text("XAI_API_KEY=from-here-22\n")
    assert endpoint_for(xai).api_key == "from-here-22"
    monkeypatch.setenv("XAI_API_KEY", "from-environment-333")
    assert endpoint_for(xai).api_key == "from-environment-333"
    monkeypatch.setenv("XAI_API_KEY", "")
    with pytest.raises(InputError, match="XAI_API_KEY is not set"):
        endpoint_for(xai)


def test_the_second_variable_counts_where_the_first_is_not_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", OTHER)
    assert endpoint_for(GOOGLE).key_variable == "GOOGLE_API_KEY"
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    assert endpoint_for(GOOGLE).api_key == KEY


def test_a_variable_moves_a_provider_without_its_key_being_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GROQ_BASE_URL", "http://10.0.0.9:1/v1")
    endpoint = endpoint_for(load_catalog().providers["groq"])
    assert (endpoint.base_url, endpoint.api_key) == ("http://10.0.0.9:1/v1", "unused")
    assert endpoint.provider is None


def test_an_address_of_a_known_provider_gets_that_providers_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OTHER)
    monkeypatch.setenv("XAI_API_KEY", KEY)
    endpoint = endpoint_for(OPENAI, base_url="https://api.x.ai/v1")
    assert (endpoint.api_key, endpoint.provider) == (KEY, "xai")
    assert endpoint.key_variable == "XAI_API_KEY"


def test_with_a_gateway_a_provider_without_a_key_is_asked_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HUD_GATEWAY_URL", "http://gateway")
    monkeypatch.setenv("HUD_API_KEY", "hud-key-for-tests")
    model = resolve_model("grok-4")
    endpoint = endpoint_for(model.provider)
    assert (endpoint.base_url, endpoint.api_key) == ("http://gateway", "hud-key-for-tests")
    assert (endpoint.is_gateway, endpoint.provider) == (True, "xai")
    with pytest.raises(InputError, match="XAI_API_KEY is not set"):
        endpoint_for(model.provider, gateway=False)
    monkeypatch.setenv("XAI_API_KEY", KEY)
    assert not endpoint_for(model.provider).is_gateway
    assert endpoint_for(model.provider, gateway=True).api_key == "hud-key-for-tests"


def test_asking_for_a_gateway_that_is_not_configured_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InputError, match="no gateway is configured") as caught:
        endpoint_for(OPENAI, gateway=True)
    assert "HUD_GATEWAY_URL" in (caught.value.hint or "")
    monkeypatch.setenv("HUD_GATEWAY_URL", "http://gateway")
    with pytest.raises(InputError, match="needs a key") as caught:
        endpoint_for(OPENAI, gateway=True)
    assert "HUD_API_KEY" in (caught.value.hint or "")


def test_a_provider_of_ones_own_file_has_its_own_variable(home: Path) -> None:
    (home / "models.toml").write_text(
        '[providers.house]\nbase_url = "https://llm.house/v1"\nkey_variables = "HOUSE_KEY"\n'
        '[[models]]\nmatch = "house-*"\nprovider = "house"\n'
    )
    provider = resolve_model("house-1").provider
    with pytest.raises(InputError, match="no key for house: HOUSE_KEY is not set"):
        endpoint_for(provider)
    (home / ".env").write_text(f"HOUSE_KEY={KEY}\n")
    assert endpoint_for(provider).api_key == KEY


def test_no_variable_that_sounds_like_it_is_mistaken_for_the_hud_key(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_API_KEY", OTHER)
    (home / "models.toml").write_text(
        '[providers.house]\nbase_url = "https://llm.house/v1"\nkey_variables = "API_KEY"\n'
    )
    with pytest.raises(InputError, match="API_KEY is not set"):
        endpoint_for(load_catalog().providers["house"])


def test_a_refused_key_is_named_by_the_variable_it_came_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XAI_API_KEY", KEY)
    endpoint = endpoint_for(load_catalog().providers["xai"])
    fault = CallFailure("status", "no such key", status=401).fault(endpoint, "grok-4")
    assert "XAI_API_KEY" in (fault.hint or "")
