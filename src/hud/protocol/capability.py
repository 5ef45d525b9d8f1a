"""Capability rows: the connections an environment exposes, as plain data.

Live clients for them are `hud.capabilities`; daemons behind them belong to the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from hud._core.errors import InputError, bounded

SSH = "ssh/2"
MCP = "mcp/2025-11-25"
CDP = "cdp/1.3"
RFB = "rfb/3.8"
ROBOT = "openpi/0"

_DEFAULT_PORTS = {"ssh": 22, "ws": 80, "wss": 443, "http": 80, "https": 443, "rfb": 5900}


def _url(url: str, scheme: str, port: int | None) -> str:
    """Complete `host[:port]` shorthand with a protocol's own scheme and port."""
    text = url.strip()
    if not text:
        raise InputError("capability url is empty", hint=f"use {scheme}://host:port")
    if "://" in text:
        return text
    host = urlsplit(f"//{text}")
    if host.port is None and port is not None:
        text = f"{text}:{port}"
    return f"{scheme}://{text}"


def _drop_none(**params: Any) -> dict[str, Any]:
    return {key: value for key, value in params.items() if value is not None}


@dataclass(frozen=True)
class Capability:
    """One connection an environment exposes: a name, a protocol, where it listens, parameters."""

    name: str
    protocol: str
    url: str = ""
    params: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def family(self) -> str:
        """The protocol without its version: `ssh` for `ssh/2`."""
        return self.protocol.partition("/")[0]

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to dial, or None when the url has none."""
        try:
            parts = urlsplit(self.url)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            return None
        return (parts.hostname, port) if parts.hostname and port else None

    def with_address(self, host: str, port: int) -> Capability:
        """Return this row with its url pointing at another host and port."""
        parts = urlsplit(self.url)
        userinfo, at, _ = parts.netloc.rpartition("@")
        netloc = f"{userinfo}{at}[{host}]:{port}" if ":" in host else f"{userinfo}{at}{host}:{port}"
        url = parts._replace(netloc=netloc).geturl()
        return Capability(self.name, self.protocol, url, dict(self.params))

    def to_manifest(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "protocol": self.protocol,
            "url": self.url,
            "params": dict(self.params),
        }

    @classmethod
    def from_manifest(cls, data: Mapping[str, Any]) -> Capability:
        """Read a row.

        Raises:
            InputError: when the row lacks a name or a protocol.
        """
        name, protocol = data.get("name"), data.get("protocol")
        if not isinstance(name, str) or not isinstance(protocol, str):
            raise InputError(f"capability row needs a name and a protocol: {bounded(data)}")
        params = data.get("params")
        held = dict(cast("Mapping[str, Any]", params)) if isinstance(params, Mapping) else {}
        return cls(name, protocol, str(data.get("url") or ""), held)

    @classmethod
    def ssh(
        cls,
        *,
        name: str = "shell",
        url: str,
        user: str = "agent",
        host_pubkey: str,
        client_key: str | None = None,
        client_key_path: str | os.PathLike[str] | None = None,
        shell: str | None = None,
        cwd: str | None = None,
        isolation: Literal["bwrap", "uid", "none"] | None = None,
    ) -> Capability:
        """A shell with files over SSH; `client_key` is a private key's content."""
        path = None if client_key_path is None else str(Path(client_key_path))
        params = _drop_none(
            user=user,
            host_pubkey=host_pubkey,
            shell=shell,
            client_key=client_key,
            client_key_path=path,
            cwd=cwd,
            isolation=isolation,
        )
        return cls(name, SSH, _url(url, "ssh", 22), params)

    @classmethod
    def mcp(
        cls,
        *,
        name: str = "tools",
        url: str,
        auth_token: str | None = None,
        transport: Literal["sse", "streamable-http", "websocket"] | None = None,
    ) -> Capability:
        """Tools over the Model Context Protocol; the transport follows from the scheme."""
        full = _url(url, "http", None)
        scheme = urlsplit(full).scheme
        if scheme not in {"ws", "wss", "http", "https"}:
            raise InputError(
                f"capability {name!r}: mcp cannot be served over {scheme}://",
                hint="serve it over http, https, ws or wss",
            )
        inferred = "websocket" if scheme in {"ws", "wss"} else "streamable-http"
        return cls(
            name, MCP, full, _drop_none(transport=transport or inferred, auth_token=auth_token)
        )

    @classmethod
    def cdp(cls, *, name: str = "browser", url: str, target_id: str | None = None) -> Capability:
        """A browser over the Chrome DevTools Protocol (an http base is accepted)."""
        return cls(name, CDP, _url(url, "ws", 9222), _drop_none(target_id=target_id))

    @classmethod
    def rfb(
        cls, *, name: str = "screen", url: str, password: str | None = None, display: int = 0
    ) -> Capability:
        """A screen with keyboard and pointer over VNC."""
        params = _drop_none(display=display, password=password)
        return cls(name, RFB, _url(url, "rfb", 5900 + display), params)

    @classmethod
    def robot(cls, *, name: str = "robot", url: str, contract: dict[str, Any]) -> Capability:
        """A robot's observation/action loop; `contract` names its features."""
        return cls(name, ROBOT, _url(url, "ws", 9091), {"contract": contract})
