"""What only a platform knows is asked of the platform, and of nobody when none is configured."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud.api.errors import PlatformError
from hud.models.catalog import UnknownModel
from hud.models.endpoint import endpoint_for
from hud.models.gateway import (
    GatewayModelInfo,
    as_model,
    find_model,
    has_platform,
    list_gateway_models,
    resolve_gateway_model,
)
from hud.models.provider import Dialect
from tests.platform_models import KEY, Platform, platform, row
from tests.unit.models.bare import make_bare

ROWS = (
    row("claude-sonnet-4-6", "claude", name="Claude Sonnet 4.6", provider="anthropic"),
    row("acme/tuned-7b", name="My tuned model", provider="acme", is_trainable=True),
    row("one/twin"),
    row("two/twin"),
    row("vendor/gem", "gemini", provider="gemini"),
    row("old", "operator"),
)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return make_bare(monkeypatch, tmp_path)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Generator[Platform]:
    with platform(*ROWS) as served:
        monkeypatch.setenv("HUD_API_URL", served.url + "/")
        monkeypatch.setenv("HUD_API_KEY", KEY)
        yield served


def test_without_a_platform_nobody_is_asked() -> None:
    assert not has_platform()
    with pytest.raises(InputError, match="no platform is configured") as caught:
        list_gateway_models()
    assert "HUD_API_URL" in (caught.value.hint or "")
    with pytest.raises(UnknownModel, match="no model 'acme/tuned-7b' is known"):
        find_model("acme/tuned-7b")


def test_pages_are_read_until_all_are_there(served: Platform) -> None:
    served.rows = [row(f"m{index}") for index in range(250)]
    assert [model.model_name for model in list_gateway_models()] == [f"m{i}" for i in range(250)]
    assert served.asked == [f"/v2/models?limit=100&offset={n}" for n in (0, 100, 200)]
    list_gateway_models()
    assert len(served.asked) == 3


def test_an_older_platform_that_lists_all_at_once_without_a_total_is_understood(
    served: Platform,
) -> None:
    served.reply = (200, b'{"items": [{"id": "1", "model_name": "m"}]}')
    [model] = list_gateway_models()
    assert (model.model_name, model.agent_kind, model.provider.name) == (
        "m",
        "openai_compatible",
        None,
    )


@pytest.mark.parametrize(
    "asked", ["id-of-acme/tuned-7b", "ACME/tuned-7b", "my tuned model", "tuned-7b"]
)
def test_a_model_is_found_by_id_slug_name_and_the_end_of_its_slug(
    served: Platform, asked: str
) -> None:
    assert resolve_gateway_model(asked).model_name == "acme/tuned-7b"


def test_an_end_that_two_slugs_share_is_not_guessed(served: Platform) -> None:
    with pytest.raises(UnknownModel, match="several models 'twin'") as caught:
        resolve_gateway_model("twin")
    assert "one/twin, two/twin" in (caught.value.hint or "")


def test_a_model_only_the_platform_knows_goes_through_its_gateway(
    served: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_GATEWAY_URL", f"{served.url}/inference")
    model = find_model("My tuned model")
    assert (model.name, model.asked) == ("acme/tuned-7b", "My tuned model")
    assert (model.dialect, model.is_hosted) == (Dialect.CHAT, True)
    endpoint = endpoint_for(model.provider, gateway=True)
    assert (endpoint.base_url, endpoint.api_key) == (f"{served.url}/inference", KEY)
    gem = find_model("vendor/gem")
    assert (gem.agent_kind, gem.provider.name) == ("gemini", "google")


def test_a_model_known_here_does_not_ask_the_platform(served: Platform) -> None:
    served.reply = (500, b"")
    assert not find_model("claude-sonnet-4-6").is_hosted
    assert served.asked == []


def test_a_name_nobody_knows_is_looked_up_anew_and_then_refused(served: Platform) -> None:
    with pytest.raises(UnknownModel, match="neither here nor by the platform") as caught:
        find_model("tuned-8b-x")
    assert len(served.asked) == 2
    served.rows.append(row("tuned-8b-x"))
    assert find_model("tuned-8b-x").name == "tuned-8b-x"
    assert caught.value.hint


def test_a_near_name_is_offered(served: Platform) -> None:
    with pytest.raises(UnknownModel) as caught:
        find_model("acme/tuned-7c")
    assert caught.value.hint == "did you mean acme/tuned-7b?"


def test_an_agent_type_there_is_not_is_refused(served: Platform) -> None:
    with pytest.raises(InputError, match="agents of the type 'operator'"):
        find_model("old")
    with pytest.raises(InputError, match="'gemini_cua'"):
        as_model(GatewayModelInfo(id="1", model_name="x", sdk_agent_type="gemini_cua"))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((401, b"{}"), "refused the key"),
        ((503, b"busy"), "status 503"),
        ((302, b""), "points to"),
        ((200, b"<html>"), "with JSON"),
        ((200, b'"text"'), "as a platform does"),
        ((200, b'{"items": [{"id": "1"}], "total": 1}'), "items.0.model_name"),
        ((200, b'"' + b"x" * (64 * 1024 * 1024) + b'"'), "more than 64 MiB"),
    ],
)
def test_a_platform_that_fails_is_one_clear_sentence_where_it_was_needed(
    served: Platform, reply: tuple[int, bytes], said: str
) -> None:
    served.reply = reply
    with pytest.raises(PlatformError, match=said) as caught:
        find_model("acme/tuned-7b")
    assert served.url in caught.value.message
    assert KEY not in caught.value.message
    assert find_model("claude").name.startswith("claude")


def test_a_platform_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with platform() as gone:
        pass
    monkeypatch.setenv("HUD_API_KEY", KEY)
    monkeypatch.setenv("HUD_API_URL", gone.url)
    with pytest.raises(PlatformError, match="cannot be reached"):
        find_model("acme/tuned-7b")
    monkeypatch.setenv("HUD_API_URL", "platform.example")
    with pytest.raises(InputError, match=r"HUD_API_URL 'platform.example' is not an HTTP"):
        find_model("acme/tuned-7b")
