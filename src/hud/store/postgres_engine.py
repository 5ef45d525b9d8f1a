"""PostgreSQL under the store: how it is reached, locked, and listened to.

Who works on a job is known by an advisory lock, which ends with the connection that holds it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from hud._core.errors import InputError, StoreError, bounded
from hud._core.ids import is_id, new_id
from hud._core.redact import redact, register_secret
from hud.store.changes import Change
from hud.store.postgres_connection import PostgresConnection
from hud.store.postgres_listening import Ear
from hud.store.session import Session

_CONNECT_TIMEOUT_S = 10
# The server is gone or going, or two transactions were in each other's way.
_PASSING = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "08003", "08006"})
_HELD = (
    "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' "
    "AND objsubid = 1 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class PostgresEngine:
    """The `Engine` of one PostgreSQL database.

    Raises:
        InputError: when `url` cannot be understood.
    """

    is_polled = False
    failures = (psycopg.Error, OSError)
    unwritable = (
        psycopg.DataError,
        psycopg.IntegrityError,
        OverflowError,
        UnicodeEncodeError,
    )

    def __init__(self, url: str) -> None:
        given = _parts(url)
        self.password = str(given.get("password") or "")
        register_secret(self.password)
        self._url = url
        self._more: dict[str, Any] = {"fallback_application_name": "hud"}
        if "connect_timeout" not in given:
            self._more["connect_timeout"] = _CONNECT_TIMEOUT_S
        self._token = new_id()
        host, port = given.get("host") or "localhost", given.get("port") or 5432
        name = given.get("dbname") or given.get("user") or ""
        self.where = bounded(f"postgresql://{host}:{port}/{name}", 300)
        self.key = f"{self.where} {given.get('user')}"

    def connect(self) -> PostgresConnection:
        return PostgresConnection(self.connect_raw(), self._token)

    def connect_raw(
        self, *, autocommit: bool = True, **more: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a new connection of the driver's."""
        return psycopg.connect(self._url, autocommit=autocommit, **self._more, **more)

    def error(self, error: BaseException) -> StoreError:
        if isinstance(error, StoreError):
            return error
        if isinstance(error, OSError):
            return StoreError(f"the store {self.where} failed: {error.strerror or error}")
        said = self._without_password(str(error)).strip().splitlines()
        first = bounded(said[0] if said else type(error).__name__, 300)
        if isinstance(error, psycopg.OperationalError):
            match error.sqlstate:
                case "53100":
                    return StoreError(
                        f"the disk of the store {self.where} is full; what is not yet written is "
                        "kept in memory",
                        hint="free some space on the database server, then try again",
                    )
                case "28P01" | "28000":
                    return StoreError(
                        f"the store {self.where} refused the user or the password",
                        hint="check the URL of the database",
                    )
                case _:
                    return StoreError(
                        f"the store {self.where} cannot be reached: {first}",
                        hint="check that the database server runs and that its URL is right",
                    )
        return StoreError(f"the store {self.where} failed: {first}")

    def is_passing(self, error: BaseException) -> bool:
        if not isinstance(error, psycopg.OperationalError):
            return False
        return error.sqlstate is None or error.sqlstate in _PASSING

    @contextlib.contextmanager
    def lock_job(self, job_id: str) -> Generator[None]:
        try:
            connection = self.connect()
        except psycopg.Error as error:
            raise self.error(error) from error
        with contextlib.closing(connection):
            [(is_mine,)] = connection.query("SELECT pg_try_advisory_lock(?)", (_number(job_id),))
            if not is_mine:
                raise InputError(
                    f"job {job_id} is being worked on by another process",
                    hint="wait until it ends, or stop it, then try again",
                )
            try:
                yield
            finally:
                # Closing alone lets go a moment later; and a connection that broke let go before.
                with contextlib.suppress(psycopg.Error):
                    connection.query("SELECT pg_advisory_unlock(?)", (_number(job_id),))

    def held_jobs(self, session: Session, job_ids: Iterable[str]) -> set[str]:
        wanted = {_number(job_id): job_id for job_id in job_ids if is_id(job_id)}
        if not wanted:
            return set()
        return {wanted[number] for (number,) in session.query(_HELD) if number in wanted}

    def listen(self, heard: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        ear = Ear(self.connect_raw, self._token, heard)
        ear.start()
        return ear.stop

    def _without_password(self, text: str) -> str:
        text = redact(text)
        return text.replace(self.password, "[redacted]") if self.password else text


def _parts(url: str) -> dict[str, Any]:
    """Return what the URL says by libpq's names; whatever is odd may be a part of a password."""
    given: dict[str, Any] = {}
    with contextlib.suppress(psycopg.Error):
        given = dict(conninfo_to_dict(url))
    port = str(given.get("port") or 5432)
    if not given or "@" in str(given.get("host")) or not port.replace(",", "").isdigit():
        raise InputError(
            "the URL of the database cannot be understood",
            hint="postgresql://USER:PASSWORD@HOST:PORT/NAME, with / and @ spelled %2F and %40",
        )
    return given


def _number(job_id: str) -> int:
    return int(job_id[-15:], 16)
