"""How one server process was asked to run: addresses and places, nothing opened yet."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from hud._core import machine
from hud._core.errors import InputError, bounded

BuilderName = Literal["bundle", "docker"]
DEFAULT_PORT = 8420
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class PlatformConfig:
    """The configuration of a server.

    Attributes:
        home: The folder of the embedded store, the secret key and the caches.
        host: The interface to listen on.
        port: 0 takes any free one.
        database: A PostgreSQL URL; None is the SQLite file in `home`.
        blobs: An fsspec URL such as s3://bucket/prefix; None is the folder in `home`.
        public_url: The address people reach it at, when that is not where it listens.
        env_providers: Whether the local team may use the provider keys of the environment.
        rollouts: How many rollouts this process runs at a time; 0 leaves them to other workers.
        engine: What they are run by; see `hud.platform.rollouts.engines`.
        environment_memory_mb: The most memory an environment gets, and what it gets that asks for
            none; half of the machine's when None.
        body_limit_bytes: The longest request body; telemetry may be tens of MiB.
        context_limit_bytes: The longest context of a build.
        builder: What environments are built as: bundles, or images of this machine's engine.
        builds_at_once: How many environments are built here together; 0 leaves it to others.
        build_timeout_s: How long one build may take.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    database: str | None = field(default=None, repr=False)
    blobs: str | None = None
    public_url: str | None = None
    env_providers: bool = False
    rollouts: int = field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    engine: str = "embedded"
    environment_memory_mb: int | None = None
    body_limit_bytes: int = 96 * 1024 * 1024
    context_limit_bytes: int = 256 * 1024 * 1024
    builder: BuilderName = "bundle"
    builds_at_once: int = 2
    build_timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        if self.public_url is not None:
            parts = urlsplit(self.public_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise InputError(
                    f"{bounded(self.public_url)!r} is no address of a server",
                    hint="for example https://hud.example.org",
                )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host in _LOOPBACK_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def most_memory_mb(self) -> int | None:
        """The most memory an environment gets, in MiB; None where each node has its own answer."""
        if self.environment_memory_mb is not None or self.engine != "embedded":
            return self.environment_memory_mb
        return machine.fair_share_mb()

    def url(self, port: int) -> str:
        """Return the origin people reach it at, when it listens on `port`."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        return self.near_url(port)

    def near_url(self, port: int) -> str:
        """Return the origin that this machine reaches it at."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def knows_host(self, host: str) -> bool:
        """Tell whether a request may name `host` (without a port) as the one it is for.

        A page somewhere else can make its own name point here, so a name has to be one of ours; an
        address in digits cannot be made to point anywhere.
        """
        name = host.strip("[]").lower()
        if name in (*_LOOPBACK_NAMES, self.host.lower()):
            return True
        if self.public_url is not None and name == (urlsplit(self.public_url).hostname or ""):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return not self.is_loopback or address.is_loopback
