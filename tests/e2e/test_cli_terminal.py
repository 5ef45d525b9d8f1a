"""On a terminal a job shows what it is doing while it runs, and leaves only its results."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.e2e.hud_command import DEADLINE_S, PREFIX, Shell, until
from tests.e2e.test_cli_interrupted import GATED


class Terminal:
    """A `hud` whose standard streams are a terminal of 100 columns and 24 lines."""

    def __init__(self, shell: Shell, *args: str, term: str = "xterm-256color") -> None:
        self._master, slave = pty.openpty()
        import fcntl
        import struct
        import termios

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        env = {key: value for key, value in shell.env.items() if key not in ("COLUMNS", "NO_COLOR")}
        self.process = subprocess.Popen(
            [*PREFIX, *args],
            cwd=shell.folder,
            env={**env, "TERM": term},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._master, 65536)
            except OSError:  # the other end is closed
                return
            if not chunk:
                return
            self._chunks.append(chunk)

    @property
    def text(self) -> str:
        """Everything written to the terminal so far."""
        return b"".join(self._chunks).decode("utf-8", "replace")

    def type(self, text: str) -> None:
        """Type something at the terminal."""
        os.write(self._master, text.encode())

    def ended(self) -> int:
        """Wait until the command has ended and all it wrote is read; return the exit code."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        os.close(self._master)
        return code


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.write("tasks.py", GATED)
    return shell


@pytest.mark.parametrize("runtime", ["local", "subprocess"])
def test_running_rollouts_counts_and_mean_are_shown_live(shell: Shell, runtime: str) -> None:
    terminal = Terminal(
        shell, "eval", "tasks.py", "oracle", "--all", "--max-concurrent", "2", "--runtime", runtime
    )
    until(lambda: "gated-1 #1  starting" in terminal.text)
    until(lambda: "0/6 done" in terminal.text and "2 running" in terminal.text)
    (shell.folder / "go-0").touch()
    until(lambda: "1/6 done · 1 graded" in terminal.text)
    assert "mean 1.000 ± n/a" in terminal.text
    (shell.folder / "go").touch()
    assert terminal.ended() == 0
    after = terminal.text.rpartition("TASK  ")[2]
    assert "6 of 6 graded (100.0 %)" in after
    assert "running" not in after
    assert terminal.text.count("\x1b[?25h") >= terminal.text.count("\x1b[?25l") > 0, "cursor back"


def test_more_rollouts_than_the_terminal_has_lines_are_counted(shell: Shell) -> None:
    shell.write("tasks.py", GATED.replace("range(6)", "range(40)"))
    terminal = Terminal(
        shell, "eval", "tasks.py", "oracle", "--all", "--max-concurrent", "40", "--runtime", "local"
    )
    until(lambda: "40 running" in terminal.text)
    until(lambda: "more running" in terminal.text)
    (shell.folder / "go").touch()
    assert terminal.ended() == 0


def test_ctrl_c_on_the_terminal_stops_the_job_and_leaves_the_cursor(shell: Shell) -> None:
    terminal = Terminal(shell, "eval", "tasks.py", "oracle", "--all", "--max-concurrent", "2")
    until(lambda: "2 running" in terminal.text)
    os.killpg(terminal.process.pid, signal.SIGINT)
    until(lambda: "stopping: nothing new is started" in terminal.text)
    (shell.folder / "go").touch()
    assert terminal.ended() == 130
    assert "2 of 6 graded" in terminal.text
    assert "--resume" in terminal.text
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")


def test_a_dumb_terminal_gets_plain_lines(shell: Shell) -> None:
    (shell.folder / "go").touch()
    terminal = Terminal(
        shell, "eval", "tasks.py", "oracle", "--all", "--runtime", "local", term="dumb"
    )
    assert terminal.ended() == 0
    assert "\x1b" not in terminal.text
    assert "[6/6]" in terminal.text


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [("y", 0, "nothing is running here"), ("", 2, "nothing was cancelled")],
)
def test_a_question_on_the_terminal_is_answered_with_y_or_nothing_happens(
    shell: Shell, answer: str, code: int, says: str
) -> None:
    terminal = Terminal(shell, "cancel", "--all")
    until(lambda: "cancel 0 jobs running here? [y/N] " in terminal.text)
    terminal.type(f"{answer}\n")
    assert terminal.ended() == code
    assert says in terminal.text
