"""A folder with an environment, and a command line beside it that knows a platform."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.platform.programs import ran
from tests.platform.server import Server, environment


class Laptop:
    """Whose `hud` deploys the folder and runs its tasks, here or there."""

    def __init__(self, server: Server, folder: Path, files: Mapping[str, str]) -> None:
        self.server = server
        self.folder = folder
        self.key = server.key(team="deployers")
        self.env = environment(folder.parent / "laptop") | {
            "HUD_API_URL": server.url,
            "HUD_API_KEY": self.key,
        }
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)

    def hud(self, *words: str) -> str:
        """Run a command that has to succeed, and return what it printed."""
        done = ran([sys.executable, "-m", "hud", *words], cwd=self.folder, env=self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rewards(self, *words: str) -> dict[str, list[float]]:
        """Evaluate and return the rewards by task."""
        said: dict[str, Any] = json.loads(self.hud("eval", *words, "--json"))
        return {task["slug"]: task["rewards"] for task in said["tasks"]}
