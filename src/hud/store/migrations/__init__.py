"""Bringing an older database up to date with Alembic; imported only when one is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config

Connect = Callable[[], Any]


def config(target: Path | Connect) -> Config:
    """Return the Alembic configuration for a SQLite file, or for where a driver connects to."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    settings.attributes["target"] = target
    return settings


def upgrade(target: Path | Connect, revision: str = "head") -> None:
    """Migrate a SQLite file, or the PostgreSQL database that psycopg connects to, to `revision`.

    All or nothing. Of several processes that do it at once, one does.
    """
    command.upgrade(config(target), revision)
