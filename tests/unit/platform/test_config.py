"""Which names a request may call the server by, and where people reach it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud.platform.config import PlatformConfig


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost", "[::1]", "127.0.0.2"])
def test_a_loopback_server_goes_by_the_names_of_loopback(host: str) -> None:
    assert PlatformConfig(Path("/x")).knows_host(host)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.0.0.1", "", "0.0.0.0"]
)
def test_a_loopback_server_goes_by_no_other_name(host: str) -> None:
    assert not PlatformConfig(Path("/x")).knows_host(host)


def test_a_server_for_others_goes_by_addresses_and_by_its_public_name_only() -> None:
    config = PlatformConfig(Path("/x"), host="0.0.0.0", public_url="https://hud.example")
    assert config.knows_host("10.0.0.1")
    assert config.knows_host("hud.example")
    assert not config.knows_host("evil.example")
    assert config.url(8420) == "https://hud.example"


def test_where_people_reach_a_server_can_be_opened_in_a_browser() -> None:
    assert PlatformConfig(Path("/x"), host="0.0.0.0").url(1) == "http://127.0.0.1:1"
    assert PlatformConfig(Path("/x"), host="::").url(1) == "http://[::1]:1"


@pytest.mark.parametrize("url", ["hud.example", "ftp://x", "https://"])
def test_a_public_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        PlatformConfig(Path("/x"), public_url=url)
