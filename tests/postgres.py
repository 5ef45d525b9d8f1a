"""A real PostgreSQL for the tests: a server of their own, and a fresh database for each."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from hud._core.ids import new_id
from tests.needs import missing

USER = "tester"
PASSWORD = "not/a secret@here"
_INSTALLED = Path("/usr/lib/postgresql")
_READY = "ready to accept connections"


class PostgresServer:
    """A running server on a loopback port, without any care for the disk."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port = port
        self.process = process

    def url(self, database: str) -> str:
        """Return how to reach one of its databases."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Generator[str]:
        """Make a database, yield its URL, and remove it with whoever is connected to it."""
        name = f"test_{new_id()}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
            try:
                yield self.url(name)
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def running_postgres(*, is_durable: bool = False) -> Generator[PostgresServer]:
    """Start a server in a folder of its own, and stop it at the end.

    Args:
        is_durable: Write through to the disk, as servers do that are not for tests.
    """
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="hud-postgres-"))
    account = _account()
    try:
        if account:
            os.chown(folder, account["user"], account["group"])
        data = folder / "data"
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        _run(
            [
                *(str(programs / "initdb"), "-D", str(data), "-U", USER, "--no-sync"),
                *("--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8"),
                *("--locale=C.UTF-8", "--no-instructions"),
            ],
            account,
        )
        with _serving(programs, data, account, is_durable) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _serving(
    programs: Path, data: Path, account: dict[str, Any], is_durable: bool
) -> Generator[PostgresServer]:
    port = _free_port()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "on" if is_durable else "off",
        "full_page_writes": "on" if is_durable else "off",
        "max_connections": 100,
        "lc_messages": "C",
    }
    words = [str(programs / "postgres"), "-D", str(data)]
    words += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=data, text=True, **account
    )
    said: list[str] = []
    ready = threading.Event()
    reader = threading.Thread(target=_listen, args=(process, said, ready), daemon=True)
    reader.start()
    try:
        if not ready.wait(60) or process.poll() is not None:
            raise AssertionError("PostgreSQL did not start:\n" + "".join(said[-20:]))
        yield PostgresServer(port, process)
    finally:
        process.send_signal(2)  # the fast shutdown
        process.wait(60)
        reader.join(60)


def _listen(process: subprocess.Popen[str], said: list[str], ready: threading.Event) -> None:
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            said.append(line)
            del said[:-200]
            if _READY in line:
                ready.set()
    ready.set()


def find_programs() -> Path | None:
    """Return the folder of an installed server's programs, the newest where there are several."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(_INSTALLED.glob("*/bin"), key=lambda path: _version(path.parent.name))[::-1]
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def _programs() -> Path:
    folder = find_programs()
    if folder is None:
        missing("PostgreSQL")
        raise AssertionError
    return folder


def _version(name: str) -> int:
    return int(name) if name.isdigit() else 0


def _account() -> dict[str, Any]:
    """Return who is to run the server: PostgreSQL refuses to serve as root."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        missing("the account postgres")
        raise
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _run(words: list[str], account: dict[str, Any]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, cwd="/", timeout=120, **account)
    assert done.returncode == 0, done.stderr


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
