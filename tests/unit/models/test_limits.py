"""Limits of model calls as users write them, and whom they hold."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud.models.endpoint import Endpoint
from hud.models.limits import parse_limits
from hud.models.shared import (
    SharedCalls,
    configured_cache,
    configured_limits,
    connection_limit,
    limit_concurrency,
    shared_calls,
)

ANTHROPIC = Endpoint("https://api.anthropic.com", "k", provider="anthropic")
OWN = Endpoint("http://127.0.0.1:8000/v1", "k")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HUD_MODEL_CONCURRENCY", "HUD_MODEL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HUD_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def enters(shared: SharedCalls, *calls: tuple[Endpoint, str]) -> list[bool]:
    """Tell which of several calls, one after the other, enter at once."""
    entered: list[bool] = []
    waiting: list[asyncio.Task[int | None]] = []
    for endpoint, model in calls:
        throttle = shared.throttle(endpoint, model)
        turn = asyncio.create_task(throttle.enter(throttle.draw_ticket(), 60.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        entered.append(turn.done())
        waiting.append(turn)
    for turn in waiting:
        turn.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return entered


def test_a_number_is_the_total_and_names_have_their_own() -> None:
    limits = parse_limits(" 64 , anthropic = 20,gpt-5.6=50,127.0.0.1:8000=5")
    assert limits.total == 64
    assert limits.named == {"anthropic": 20, "gpt-5.6": 50, "127.0.0.1:8000": 5}
    assert parse_limits(7).total == 7
    assert parse_limits("  ") == parse_limits("")


@pytest.mark.parametrize(
    "text",
    ["many", "0", "-3", "1.5", "anthropic", "anthropic=", "=5", "anthropic=0", "a=1,,b=2", "²"],
)
def test_what_is_no_limit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"HUD_MODEL_CONCURRENCY: .* is no limit") as caught:
        parse_limits(text)
    assert caught.value.hint and "anthropic=20,gpt-5.6=50" in caught.value.hint


@pytest.mark.parametrize("text", ["a=1,a=2", "5,6"])
def test_two_limits_for_the_same_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="two limits"):
        parse_limits(text)


async def test_a_provider_limit_holds_all_its_models_together() -> None:
    shared = SharedCalls(parse_limits("anthropic=2"), None)
    entered = await enters(shared, (ANTHROPIC, "a"), (ANTHROPIC, "b"), (ANTHROPIC, "c"), (OWN, "a"))
    assert entered == [True, True, False, True]


async def test_a_model_limit_holds_that_model_at_every_address() -> None:
    shared = SharedCalls(parse_limits("a=1"), None)
    entered = await enters(shared, (ANTHROPIC, "a"), (OWN, "a"), (OWN, "b"))
    assert entered == [True, False, True]


@pytest.mark.parametrize("name", ["127.0.0.1:8000", "127.0.0.1"])
async def test_a_host_can_be_limited(name: str) -> None:
    shared = SharedCalls(parse_limits(f"{name}=1"), None)
    entered = await enters(shared, (OWN, "a"), (OWN, "b"), (ANTHROPIC, "a"))
    assert entered == [True, False, True]


async def test_the_total_holds_everything() -> None:
    shared = SharedCalls(parse_limits("2"), None)
    entered = await enters(shared, (OWN, "a"), (ANTHROPIC, "a"), (OWN, "b"))
    assert entered == [True, True, False]


async def test_a_provider_is_asked_carefully_and_a_server_of_ones_own_as_much_as_it_takes() -> None:
    shared = shared_calls()
    assert shared.throttle(ANTHROPIC, "a").limit == 64
    assert shared.throttle(OWN, "a").limit >= 1000
    assert 32 <= connection_limit() <= 4096


async def test_one_model_behind_one_address_has_one_throttle_per_loop() -> None:
    again = Endpoint(OWN.base_url, "another key")
    assert shared_calls().throttle(OWN, "a") is shared_calls().throttle(again, "a")
    assert shared_calls().throttle(OWN, "a") is not shared_calls().throttle(OWN, "b")

    def on_another_loop() -> int:
        async def main() -> int:
            return id(shared_calls().throttle(OWN, "a"))

        return asyncio.run(main())

    assert await asyncio.to_thread(on_another_loop) != id(shared_calls().throttle(OWN, "a"))


async def test_throttles_of_names_nobody_asks_for_any_more_do_not_pile_up() -> None:
    shared = shared_calls()
    busy = shared.throttle(OWN, "busy")
    await busy.enter(busy.draw_ticket(), 60.0)
    for number in range(3000):
        shared.throttle(OWN, f"m{number}")
    assert shared.throttle(OWN, "busy") is busy
    assert shared.throttle(OWN, "m2999") is shared.throttle(OWN, "m2999")
    assert shared.throttles_held <= 1024


async def test_the_variable_is_read_from_the_environment_and_from_a_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".env").write_text(f"HUD_MODEL_CONCURRENCY=3\nHUD_MODEL_CACHE={home / 'replies'}\n")
    assert configured_limits().total == 3
    kept_in = configured_cache()
    assert kept_in is not None and kept_in.folder == home / "replies"
    monkeypatch.setenv("HUD_MODEL_CONCURRENCY", "5")
    monkeypatch.setenv("HUD_MODEL_CACHE", "")
    assert configured_limits().total == 5
    assert configured_cache() is None
    monkeypatch.setenv("HUD_MODEL_CONCURRENCY", "five")
    with pytest.raises(InputError):
        shared_calls()


async def test_an_argument_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUD_MODEL_CONCURRENCY", "5")
    before = shared_calls()
    limit_concurrency("5")
    assert shared_calls() is before, "nothing changed"
    limit_concurrency("anthropic=1")
    assert shared_calls().limits.named == {"anthropic": 1}
    assert await enters(shared_calls(), (ANTHROPIC, "a"), (ANTHROPIC, "b")) == [True, False]
    limit_concurrency(None)
    assert shared_calls().limits.total == 5
    with pytest.raises(InputError, match="model concurrency: 'x' is no limit"):
        limit_concurrency("x")
