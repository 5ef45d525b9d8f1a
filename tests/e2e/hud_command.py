"""What the tests of the command line share: the real `hud` in a folder and a store of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE_S = 120.0
PREFIX = (sys.executable, "-m", "hud")


@dataclass(frozen=True)
class Result:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The JSON document on stdout; NaN and Infinity are no JSON."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} in {self.out}")

        return json.loads(self.out, parse_constant=refuse)


class Shell:
    """A folder to work in, and a store beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir(exist_ok=True)
        self.home = folder / "home"
        self.env = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("HUD_", "OPENAI_", "PYTEST"))
        }
        self.env |= {"HUD_HOME": str(self.home), "COLUMNS": "100", "TERM": "xterm-256color"}

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def __call__(self, *args: str, stdin: str = "", env: dict[str, str] | None = None) -> Result:
        """Run `hud` with these arguments; whatever happens, it shows no traceback."""
        done = subprocess.run(
            [*PREFIX, *args],
            cwd=self.folder,
            env={**self.env, **(env or {})},
            input=stdin.encode(),
            capture_output=True,
            timeout=DEADLINE_S,
        )
        result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in result.err, result.err
        assert "Traceback" not in result.out, result.out
        return result

    @contextlib.contextmanager
    def started(self, *args: str) -> Generator[Running]:
        """Start `hud` and yield it while it runs; it is killed at the end if it still does."""
        running = Running(self, args)
        try:
            yield running
        finally:
            running.process.kill()
            running.process.wait()
            running.close()


class Running:
    """A `hud` that runs, its output in files that can be read meanwhile."""

    _count = 0

    def __init__(self, shell: Shell, args: Sequence[str]) -> None:
        Running._count += 1
        base = shell.folder.parent / f"running-{Running._count}"
        self.paths = (base.with_suffix(".out"), base.with_suffix(".err"))
        self._files = [path.open("wb") for path in self.paths]
        self.process = subprocess.Popen(
            [*PREFIX, *args],
            cwd=shell.folder,
            env=shell.env,
            stdin=subprocess.DEVNULL,
            stdout=self._files[0],
            stderr=self._files[1],
        )

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    @property
    def out(self) -> str:
        """What it wrote to stdout so far."""
        return self.paths[0].read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """What it wrote to stderr so far."""
        return self.paths[1].read_text(encoding="utf-8")

    def says(self, text: str) -> None:
        """Wait until it has written `text` to stderr."""
        until(lambda: text in self.err or self.process.poll() is not None)
        assert text in self.err, self.err

    def ended(self) -> Result:
        """Wait until it has ended and return how."""
        code = self.process.wait(DEADLINE_S)
        result = Result(code, self.out, self.err)
        assert "Traceback" not in result.err, result.err
        return result


def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)
