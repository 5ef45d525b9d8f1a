"""Bringing an older database up to date with Alembic; imported only when one is found."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config


def config(path: Path) -> Config:
    """Return the Alembic configuration for the SQLite file `path`."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    settings.attributes["path"] = path
    return settings


def upgrade(path: Path, revision: str = "head") -> None:
    """Migrate the SQLite file `path` to `revision`, all or nothing."""
    command.upgrade(config(path), revision)
