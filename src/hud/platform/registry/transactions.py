"""Writes that two servers may make at the same time: the later one looks again and finds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from hud.platform.database import Database

T = TypeVar("T")
_TRIES = 4


def settled(database: Database, work: Callable[[Connection], T]) -> T:
    """Return what `work` gives in a transaction of its own.

    It runs again when a row it wanted to add was added by somebody else meanwhile, so it has to
    look before it adds.
    """
    for _ in range(_TRIES - 1):
        try:
            with database.writing() as connection:
                return work(connection)
        except IntegrityError:
            continue
    with database.writing() as connection:
        return work(connection)
