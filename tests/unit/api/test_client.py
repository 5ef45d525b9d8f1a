"""The client of a platform: what it sends, what it waits for, and what it says went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import HudError, InputError
from hud.api import calls
from hud.api.client import BlockingPlatformClient, PlatformClient
from hud.api.errors import (
    KeyRefused,
    NotOnPlatform,
    OutOfCredits,
    PlatformBusy,
    PlatformRefused,
    PlatformUnreachable,
    ReplyUnreadable,
)
from hud.api.exchange import Exchange, Patience
from hud.api.place import PlatformPlace, configured_place, required_place
from tests.platform_server import KEY, FakePlatform, running_platform

AT_ONCE = Patience((0.0,) * 4, (0.0,) * 2)


@pytest.fixture
def platform() -> Generator[FakePlatform]:
    with running_platform() as platform:
        yield platform


def place(platform: FakePlatform, key: str | None = KEY) -> PlatformPlace:
    return PlatformPlace.at(platform.url, key)


def ask(platform: FakePlatform, call: Any, **changes: Any) -> Any:
    at = replace(place(platform), **changes)
    with BlockingPlatformClient(at, patience=AT_ONCE) as client:
        return client.send(call)


async def test_both_clients_ask_the_same_and_get_the_same(platform: FakePlatform) -> None:
    async with PlatformClient(place(platform)) as client:
        one = await client.send(calls.me())
    other = await asyncio.to_thread(ask, platform, calls.me())
    assert one == other
    assert platform.paths() == ["/v2/auth/me"] * 2


def test_a_trouble_that_passes_is_waited_for(platform: FakePlatform) -> None:
    platform.replies = [
        (502, {}, b"bad gateway"),
        (503, {"Retry-After": "0"}, b""),
        (504, {}, b"{}"),
        (429, {"Retry-After": "0"}, b"{}"),
    ]
    assert ask(platform, calls.me()).team_id
    assert len(platform.requests) == 5


def test_a_trouble_that_stays_is_said_after_five_attempts(platform: FakePlatform) -> None:
    platform.replies = [(503, {}, b'{"detail": "the disk is full"}')] * 5
    with pytest.raises(PlatformUnreachable, match="in trouble: the disk is full"):
        ask(platform, calls.me())
    assert len(platform.requests) == 5


def test_a_long_pause_is_not_waited_for(platform: FakePlatform) -> None:
    platform.replies = [(429, {"Retry-After": "31"}, b'{"detail": "slow down"}')]
    with pytest.raises(PlatformBusy, match="slow down"):
        ask(platform, calls.me())


def test_the_pause_a_platform_asks_for_counts() -> None:
    exchange = Exchange(PlatformPlace.at("http://127.0.0.1:1", KEY), calls.me(), Patience())
    waits = [exchange.answered(503, {"retry-after": "30"}, b"")]
    waits += [exchange.answered(503, {}, b"") for _ in range(3)]
    assert [wait.seconds for wait in waits if not isinstance(wait, calls.replies.Me)] == [
        *(30.0, 4.0, 8.0, 16.0)
    ]


def test_what_must_not_be_done_twice_is_asked_once(platform: FakePlatform) -> None:
    platform.replies = [(503, {}, b"{}")]
    with pytest.raises(PlatformUnreachable):
        ask(platform, calls.create_project("mine"))
    assert len(platform.requests) == 1


@pytest.mark.parametrize(
    ("status", "detail", "kind", "hint"),
    [
        (401, "no", KeyRefused, "hud login"),
        (402, "no", OutOfCredits, "billing"),
        (403, "this requires pro", KeyRefused, "plan"),
        (403, "no", KeyRefused, "HUD_API_KEY"),
        (404, "no such thing", NotOnPlatform, None),
        (400, "line 1\nline 2", PlatformRefused, None),
        (422, [{"loc": ["body"]}], PlatformRefused, None),
        (500, "oh", PlatformUnreachable, None),
    ],
)
def test_a_refusal_says_what_can_be_done(
    platform: FakePlatform, status: int, detail: Any, kind: type[HudError], hint: str | None
) -> None:
    platform.refuse = lambda method, path, body: (status, {"detail": detail})
    with pytest.raises(kind) as caught:
        ask(platform, calls.me())
    assert len(platform.requests) == 1
    assert (hint or "") in (caught.value.hint or "")
    assert str(detail)[:2].strip("[") in caught.value.message


def test_the_key_is_in_no_error_even_when_the_platform_repeats_it(platform: FakePlatform) -> None:
    key = "an-unknown-key-9876"
    refused = PlatformPlace.at(platform.url, key)
    with BlockingPlatformClient(refused) as client, pytest.raises(KeyRefused) as caught:
        client.send(calls.me())
    assert key not in caught.value.message + repr(refused)


@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b"")])
def test_an_empty_answer_is_an_empty_object(
    platform: FakePlatform, status: int, body: bytes
) -> None:
    platform.replies = [(status, {}, body)]
    assert ask(platform, calls.cancel_all()).jobs_cancelled == 0


def test_a_redirect_is_not_followed(platform: FakePlatform) -> None:
    platform.replies = [(307, {"Location": "http://127.0.0.1:9/elsewhere"}, b"")]
    with pytest.raises(ReplyUnreadable, match=r"127\.0\.0\.1:9/elsewhere"):
        ask(platform, calls.me())
    assert len(platform.requests) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"<html>", "with JSON"), (b"[]", "as a platform does"), (b'{"user_id": 3}', "user_id")],
)
def test_what_a_platform_does_not_answer_is_said(
    platform: FakePlatform, body: bytes, said: str
) -> None:
    platform.replies = [(200, {}, body)]
    with pytest.raises(ReplyUnreadable, match=said):
        ask(platform, calls.me())


def test_an_answer_without_end_is_not_read(platform: FakePlatform) -> None:
    platform.replies = [(200, {}, b" " * (1024 * 1024 + 1))]
    with pytest.raises(ReplyUnreadable, match="more than 1 MiB"):
        ask(platform, replace(calls.me(), limit_bytes=1024 * 1024))


def test_nobody_there_is_one_sentence(platform: FakePlatform) -> None:
    platform.stop()
    with pytest.raises(PlatformUnreachable, match="cannot be reached") as caught:
        ask(platform, calls.me())
    assert "HUD_API_URL" in (caught.value.hint or "")


async def test_a_listing_is_read_to_its_end_or_its_limit(platform: FakePlatform) -> None:
    platform.listed_jobs = [{"id": f"{index:032x}", "name": str(index)} for index in range(250)]
    async with PlatformClient(place(platform)) as client:
        rows = await client.collect(calls.jobs(None))
        few = await client.collect(calls.jobs(120))
    assert [row.name for row in rows] == [str(index) for index in range(250)]
    assert [row.name for row in few] == [str(index) for index in range(120)]


def test_a_platform_that_knows_no_pages_is_asked_no_further(platform: FakePlatform) -> None:
    rows = [{"id": f"{index:032x}"} for index in range(100)]
    platform.refuse = lambda method, path, body: (200, rows)
    with BlockingPlatformClient(place(platform)) as client:
        found = client.collect(calls.jobs(None))
    assert len(found) == 100
    assert len(platform.requests) <= 2


def test_ids_of_cancellations_are_dashed(platform: FakePlatform) -> None:
    run = "0123456789ab4cdef123456789abcdef"[:32]
    ask(platform, calls.cancel_run(run, "not an id"))
    assert platform.cancelled == [
        (
            "cancel",
            {
                "trace_id": f"{run[:8]}-{run[8:12]}-{run[12:16]}-{run[16:20]}-{run[20:]}",
                "job_id": "not an id",
            },
        )
    ]


def test_a_deprecated_call_is_warned_of_once(
    platform: FakePlatform, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"user_id": "u", "team_id": "t"}'
    platform.replies = [(200, {"Deprecation": "true"}, body)] * 2
    ask(platform, calls.me())
    ask(platform, calls.me())
    assert len([record for record in caplog.records if "stop serving" in record.message]) == 1


def test_without_an_address_or_a_key_there_is_no_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUD_HOME", str(tmp_path))
    for name in ("HUD_API_URL", "HUD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert configured_place() is None
    with pytest.raises(InputError, match="HUD_API_URL and HUD_API_KEY are not set"):
        required_place()
    monkeypatch.setenv("HUD_API_KEY", KEY)
    with pytest.raises(InputError, match="HUD_API_URL is not set"):
        required_place()
    assert required_place("http://127.0.0.1:1/").api_url == "http://127.0.0.1:1"
    monkeypatch.setenv("HUD_API_URL", "ftp://nowhere")
    with pytest.raises(InputError, match="HUD_API_URL"):
        configured_place()
