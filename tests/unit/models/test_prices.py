"""A call costs what its maker publishes, or what the user says; where nobody says, nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot

from hud.models.catalog import Price, load_catalog
from hud.models.prices import cost_usd, price_of
from tests.unit.models.bare import make_bare


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return make_bare(monkeypatch, tmp_path)


def cost(provider: str | None, model: str, **tokens: int | None) -> float | None:
    used: dict[str, Any] = {"prompt_tokens": 1000, "cached_tokens": 0, "completion_tokens": 100}
    return cost_usd(provider, model, **{**used, **tokens})


def _priced_models() -> Iterator[tuple[str, str]]:
    names = {row.prices or row.name for row in load_catalog().providers.values()}
    for provider in get_snapshot().providers:
        if provider.id in names:
            for model in provider.models:
                yield provider.id, model.id


def test_every_published_price_comes_to_what_its_publisher_computes() -> None:
    now = datetime.now(UTC)
    compared = 0
    for provider, model in _priced_models():
        for prompt, read, written in ((900, 0, 0), (900, 500, 300), (1_500_000, 400_000, 1000)):
            ours = cost(
                provider,
                model,
                prompt_tokens=prompt,
                cached_tokens=read,
                cache_write_tokens=written,
                completion_tokens=77,
            )
            usage = genai_prices.Usage(
                input_tokens=prompt,
                cache_read_tokens=read,
                cache_write_tokens=written,
                output_tokens=77,
            )
            try:
                theirs = genai_prices.calc_price(
                    usage, model, provider_id=provider, genai_request_timestamp=now
                )
            except (LookupError, ValueError):
                continue
            if ours is None:
                assert price_of(provider, model) is None
                continue
            assert ours == pytest.approx(float(theirs.total_price), rel=1e-9), (provider, model)
            compared += 1
    assert compared > 1000


def test_what_came_from_the_cache_costs_less_and_what_went_into_it_more() -> None:
    plain = cost("anthropic", "claude-sonnet-4-6")
    read = cost("anthropic", "claude-sonnet-4-6", cached_tokens=800)
    written = cost("anthropic", "claude-sonnet-4-6", cache_write_tokens=800)
    assert plain is not None
    assert read is not None
    assert written is not None
    assert read < plain < written


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        (None, "gpt-5.6"),
        ("ollama", "llama3.2"),
        ("vllm", "gpt-5.6"),
        ("openai", "gpt-from-nowhere"),
        ("my-openai-proxy", "gpt-5.6"),
        ("nobody", "x"),
        ("openai", ""),
    ],
)
def test_an_unknown_price_is_none_and_never_nothing(provider: str | None, model: str) -> None:
    assert cost(provider, model) is None
    assert price_of(provider, model) is None


def test_unknown_use_has_no_cost() -> None:
    assert cost("openai", "gpt-5.6", prompt_tokens=None) is None
    assert cost("openai", "gpt-5.6", completion_tokens=None) is None
    assert cost("openai", "gpt-5.6", cached_tokens=None) == cost("openai", "gpt-5.6")


def test_more_read_from_the_cache_than_was_sent_counts_once() -> None:
    whole = cost("anthropic", "claude-sonnet-4-6", cached_tokens=1000)
    assert cost("anthropic", "claude-sonnet-4-6", cached_tokens=5000) == whole


def test_ones_own_price_wins(home: Path) -> None:
    published = cost("openai", "gpt-5.6")
    (home / "models.toml").write_text(
        '[[models]]\nname = "gpt-5.6"\nprice = { input = 1000, output = 0 }\n'
        '[[models]]\nname = "mine"\nprovider = "vllm"\n'
        "price = { input = 1, output = 3, cache_read = 0.5, cache_write = 2 }\n"
    )
    assert cost("openai", "gpt-5.6") == pytest.approx(1.0)
    assert published != pytest.approx(1.0)
    tokens = {"prompt_tokens": 1000, "cached_tokens": 400, "cache_write_tokens": 100}
    expected = (500 * 1 + 400 * 0.5 + 100 * 2 + 100 * 3) / 1e6
    assert cost("vllm", "mine", **tokens) == pytest.approx(expected)
    assert cost(None, "mine", **tokens) == pytest.approx(expected)
    assert cost("groq", "mine") is None
    assert price_of("vllm", "mine") == Price(1, 3, 0.5, 2)


def test_a_price_of_nothing_that_somebody_states_is_a_price(home: Path) -> None:
    (home / "models.toml").write_text(
        '[[models]]\nmatch = "*"\nprovider = "ollama"\nprice = { input = 0, output = 0 }\n'
    )
    assert cost("ollama", "llama3.2") == 0.0
    assert cost("openai", "gpt-5.6") != 0.0


def test_a_long_prompt_is_charged_at_its_tier() -> None:
    short = price_of("google", "gemini-3.1-pro-preview", prompt_tokens=1000)
    long = price_of("google", "gemini-3.1-pro-preview", prompt_tokens=300_000)
    assert short is not None
    assert long is not None
    assert long.input > short.input


def test_no_price_is_asked_for_over_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert cost("openrouter", "z-ai/glm-5.2") is not None
    assert cost("openrouter", "no/such-model") is None
