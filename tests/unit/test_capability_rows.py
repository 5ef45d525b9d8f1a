"""Capability rows: shorthand is completed, parameters are kept, nothing is invented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import InputError
from hud.protocol import Capability


@pytest.mark.parametrize(
    ("row", "name", "protocol", "url", "params"),
    [
        (
            Capability.ssh(url="h", host_pubkey="k"),
            "shell", "ssh/2", "ssh://h:22", {"user": "agent", "host_pubkey": "k"},
        ),
        (
            Capability.ssh(
                name="box", url="h:2222", user="me", host_pubkey="k", client_key="key",
                client_key_path=Path("/k"), shell="bash", cwd="/w", isolation="bwrap",
            ),
            "box", "ssh/2", "ssh://h:2222",
            {"user": "me", "host_pubkey": "k", "client_key": "key", "client_key_path": "/k",
             "shell": "bash", "cwd": "/w", "isolation": "bwrap"},
        ),
        (
            Capability.mcp(url="http://h:1/mcp", auth_token="t"),
            "tools", "mcp/2025-11-25", "http://h:1/mcp",
            {"transport": "streamable-http", "auth_token": "t"},
        ),
        (
            Capability.mcp(url="wss://h/ws"),
            "tools", "mcp/2025-11-25", "wss://h/ws", {"transport": "websocket"},
        ),
        (
            Capability.mcp(url="https://h/sse", transport="sse"),
            "tools", "mcp/2025-11-25", "https://h/sse", {"transport": "sse"},
        ),
        (Capability.cdp(url="h"), "browser", "cdp/1.3", "ws://h:9222", {}),
        (
            Capability.cdp(url="http://h:9000", target_id="t"),
            "browser", "cdp/1.3", "http://h:9000", {"target_id": "t"},
        ),
        (Capability.rfb(url="h"), "screen", "rfb/3.8", "rfb://h:5900", {"display": 0}),
        (
            Capability.rfb(url="h", display=2, password="p"),
            "screen", "rfb/3.8", "rfb://h:5902", {"display": 2, "password": "p"},
        ),
        (
            Capability.robot(url="h", contract={"robot_type": "arm"}),
            "robot", "openpi/0", "ws://h:9091", {"contract": {"robot_type": "arm"}},
        ),
        (Capability.ssh(url="[::1]", host_pubkey="k"), "shell", "ssh/2", "ssh://[::1]:22",
         {"user": "agent", "host_pubkey": "k"}),
    ],
)  # fmt: skip
def test_a_factory_completes_the_row(
    row: Capability, name: str, protocol: str, url: str, params: dict[str, Any]
) -> None:
    assert row == Capability(name, protocol, url, params)
    assert row.family == protocol.split("/")[0]
    assert Capability.from_manifest(row.to_manifest()) == row


@pytest.mark.parametrize("url", ["stdio://x", "ftp://h:1", "unix:///x"])
def test_tools_are_not_served_over_what_has_no_network(url: str) -> None:
    with pytest.raises(InputError, match="mcp cannot be served over"):
        Capability.mcp(url=url)


def test_an_empty_url_is_refused() -> None:
    with pytest.raises(InputError, match="url is empty"):
        Capability.cdp(url=" ")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ssh://h:2222", ("h", 2222)),
        ("ssh://h", ("h", 22)),
        ("https://h/x", ("h", 443)),
        ("rfb://[::1]:5901", ("::1", 5901)),
        ("raw://h", None),
        ("raw://h:99999", None),
        ("ssh://h:x", None),
        ("ssh://[h", None),
        ("", None),
        ("/just/a/path", None),
    ],
)
def test_the_address_is_what_the_url_says_or_nothing(
    url: str, address: tuple[str, int] | None
) -> None:
    assert Capability("c", "raw/1", url).address == address


def test_a_row_is_moved_to_another_address_with_its_path_and_user() -> None:
    row = Capability("c", "mcp/1", "http://user:pw@far:80/mcp?x=1", {"a": 1})

    assert row.with_address("127.0.0.1", 4000) == Capability(
        "c", "mcp/1", "http://user:pw@127.0.0.1:4000/mcp?x=1", {"a": 1}
    )
    assert row.with_address("::1", 4000).address == ("::1", 4000)


@pytest.mark.parametrize(
    "data", [{}, {"name": "a"}, {"protocol": "ssh/2"}, {"name": 1, "protocol": "ssh/2"}]
)
def test_a_row_without_name_or_protocol_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="needs a name and a protocol"):
        Capability.from_manifest(data)


def test_a_foreign_row_is_read_as_far_as_it_goes() -> None:
    data: dict[str, Any] = {"name": "a", "protocol": "x/9", "url": None, "params": None, "new": 1}

    assert Capability.from_manifest(data) == Capability("a", "x/9", "", {})
