"""A real server in a process of its own, on a home of its own, with keys to talk to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO

import httpx

from hud._core.paths import make_home
from hud.platform.accounts import keys, teams
from hud.platform.accounts.keys import Scope
from hud.platform.config import PlatformConfig
from hud.platform.database import Database
from hud.platform.services import Services

DEADLINE_S = 60.0
_COMMAND = (sys.executable, "-m", "hud", "platform", "up")


class Server:
    """One `hud platform up`. `url` is set while it runs.

    Attributes:
        home: The folder of its store.
        database: The address of a PostgreSQL database, None for SQLite.
        port: The port it had last: a restart takes the same.
    """

    command: Sequence[str] = _COMMAND

    def __init__(self, home: Path, database: str | None = None) -> None:
        self.home = make_home(home)
        self.database = database
        self.port = 0
        self.url = ""
        self.sign_in_url = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home.parent / f"{home.name}.log"
        self._log: IO[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it and wait until it answers."""
        words = [*self.command, "--port", str(self.port), "--home", str(self.home), *options]
        if self.database is not None:
            words += ["--database", self.database]
        self._log = self.log.open("ab")
        self.process = subprocess.Popen(
            words,
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self.process.stdout is not None
        ready, link = (self.process.stdout.readline().decode().split() for _ in range(2))
        assert ready and link, f"the server did not start: {self.said()}"
        self.url, self.sign_in_url = ready[-1], link[-1]
        self.port = int(self.url.rpartition(":")[2])

    def said(self) -> str:
        """Return what it wrote to stderr."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """Stop it as an operator does and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._reaped()

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self._reaped()

    def _reaped(self) -> int:
        assert self.process is not None and self._log is not None
        try:
            code = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._log.close()
        self.process = None
        return code

    def close(self) -> None:
        """Make sure that it does not run any more."""
        if self.process is not None:
            self.kill()

    def key(
        self, name: str = "test", *, team: str = "local", scopes: Sequence[Scope] | None = None
    ) -> str:
        """Make a key, and its team when there is none of that name; it may do everything."""
        with contextlib.closing(Database(self.home, self.database)) as database:
            owner = teams.ensure_first_owner(database)
            with database.writing() as connection:
                if teams.make_team(connection, team):
                    teams.set_role(connection, team, owner, "owner")
                _, secret = keys.create_key(
                    connection,
                    team=team,
                    user_id=owner,
                    name=name,
                    scopes=keys.SCOPES if scopes is None else scopes,
                )
        return secret

    def settings(self, key: str) -> dict[str, str]:
        """Return the variables that point a client here."""
        return {
            "HUD_API_URL": self.url,
            "HUD_API_KEY": key,
            "HUD_RUNTIME_URL": self.url,
            "HUD_GATEWAY_URL": f"{self.url}/inference",
            "HUD_TELEMETRY_URL": f"{self.url}/telemetry/v3/api",
            "HUD_WEB_URL": self.url,
        }

    def client(self, key: str | None = None) -> httpx.Client:
        """Return a client with a key; without one it carries none."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=DEADLINE_S, trust_env=False)


def environment(home: Path) -> dict[str, str]:
    """Return an environment that knows of no other home, key or platform."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HUD_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "PYTEST"))
    }
    return {**kept, "HUD_HOME": str(home)}


def prepare(home: Path, database: str | None = None) -> None:
    """Make the store of a home without a server."""
    Services.open(PlatformConfig(home=make_home(home), database=database)).close()


@contextlib.contextmanager
def running(home: Path, *options: str, database: str | None = None) -> Generator[Server]:
    """Yield a server that answers, and stop it afterwards."""
    server = Server(home, database)
    try:
        server.start(*options)
        yield server
    finally:
        server.close()
