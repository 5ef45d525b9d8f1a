"""A machine on which nothing is set: no key, no address, an empty HUD_HOME."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def make_bare(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Take every setting away, work in an empty folder, and return HUD_HOME."""
    for name in list(os.environ):
        if name.startswith("HUD_") or name.endswith(("_API_KEY", "_BASE_URL")):
            monkeypatch.delenv(name)
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HUD_HOME", str(home))
    monkeypatch.chdir(work)
    return home
