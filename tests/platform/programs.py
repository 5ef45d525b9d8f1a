"""Clients of a platform as programs: in a folder of their own, with a key of one team."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.platform.server import DEADLINE_S, Server, environment


def ran(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        words,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
    )


class Published:
    """The published client, or an older one.

    Attributes:
        env: What it sees of this machine: the platform, the key, and a home of its own.
    """

    def __init__(self, python: Path, server: Server, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key
        self.env = environment(folder / "home") | server.settings(key)
        self.env |= {
            "HOME": str(folder),
            "NO_PROXY": "127.0.0.1",
            "HUD_CLI_ANALYTICS_ENABLED": "false",
            "HUD_SKIP_VERSION_CHECK": "true",
        }
        self.env.pop("PYTHONPATH", None)
        self._python = python

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run its interpreter."""
        return ran([str(self._python), "-W", "ignore", *words], cwd=self.folder, env=self.env)

    def run(self, *words: str) -> str:
        """Run what has to succeed, and return what it printed."""
        done = self.attempt(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def hud(self, *words: str) -> Any:
        """Run a command of its command line with --json, and return what it printed."""
        return json.loads(self.run("-m", "hud.cli", *words, "--json"))
