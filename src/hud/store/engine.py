"""What a database has to do for the store: one implementation for each, no SQL of the store's.

The statements go through `session`; how a database is connected to, locked and listened to is
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from hud._core.errors import StoreError
from hud.store.changes import Change
from hud.store.session import Session


class Connection(Session, Protocol):
    """A connection of its own, outside of a transaction until it begins one."""

    def begin(self) -> None:
        """Begin a transaction that writes."""
        ...

    def commit(self) -> None:
        """End the transaction; what it wrote is durable."""
        ...

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        ...

    def savepoint(self) -> AbstractContextManager[None]:
        """Undo only what the block wrote when it raises."""
        ...

    def announce(self, changes: Sequence[Change]) -> None:
        """Tell other processes, when the transaction commits, what it changed."""
        ...

    def changed_elsewhere(self) -> bool:
        """Return whether another connection committed since this was asked last.

        Always False where other processes announce what they change.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Engine(Protocol):
    """One database. Every method may be called from any thread.

    Attributes:
        key: Equal for two engines on the same database.
        where: What a message calls the database; holds no password.
        failures: What the driver raises.
        unwritable: What one row that cannot be stored raises; the others of its batch are fine.
        is_polled: Whether changes of other processes are only noticed by asking.
    """

    @property
    def key(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def failures(self) -> tuple[type[BaseException], ...]: ...
    @property
    def unwritable(self) -> tuple[type[BaseException], ...]: ...
    @property
    def is_polled(self) -> bool: ...

    def connect(self) -> Connection:
        """Return a new connection, for one thread at a time.

        Raises whatever the driver raises; `error` says what it means.
        """
        ...

    def error(self, error: BaseException) -> StoreError:
        """Return the `StoreError` that says what `error` means; the caller raises it from it."""
        ...

    def is_passing(self, error: BaseException) -> bool:
        """Tell whether the same on a fresh connection may well work at once."""
        ...

    def lock_job(self, job_id: str) -> AbstractContextManager[None]:
        """Do as `Store.lock_job`."""
        ...

    def held_jobs(self, session: Session, job_ids: Iterable[str]) -> set[str]:
        """Return those of the jobs that somebody holds."""
        ...

    def listen(self, heard: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        """Call `heard` with what other processes change, from now until what is returned is called.

        `heard` is first called when listening has begun; may be called from any thread.
        """
        ...
