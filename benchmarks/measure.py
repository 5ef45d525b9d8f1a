"""Run one program in a fresh process and say what it cost.

Every measurement records into a folder of its own, with no key and no setting of the user's in
its environment. Which programs, how often and what is expected of them belongs to the benchmarks.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from benchmarks import proc

K = TypeVar("K")

ROOT = Path(__file__).resolve().parent.parent
LETTERS = Path(__file__).resolve().parent / "sources" / "letters.py"
TIMEOUT_S = 600.0
_TAIL = 2_000


class BenchmarkFailed(Exception):
    """A measured program did not do what was to be measured."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a whole invocation shares.

    Attributes:
        quick: Fewer repeats and smaller sizes, for a look; not for figures to publish.
        peer: The interpreter that has the peer installed, None without one.
        folder: A scratch folder that is removed at the end.
    """

    quick: bool
    peer: Path | None
    folder: Path

    def repeats(self, full: int) -> int:
        """Return how often to measure what deserves `full` runs."""
        return 1 if self.quick else full


@dataclass(frozen=True, slots=True)
class Cost:
    """What one program took.

    Attributes:
        wall_s: From start to exit, interpreter included.
        cpu_s: CPU time of it and of every descendant that was reaped.
        peak_bytes: Memory of the whole tree at its highest sample, or of its largest process when
            that is more or the tree was not sampled.
        data: The JSON object it printed last; empty when it was asked for none.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    data: dict[str, Any]


def run(
    command: Sequence[str | Path],
    *,
    python_path: bool = True,
    env: Mapping[str, str] | None = None,
    sample: bool = False,
    prints_json: bool = False,
) -> Cost:
    """Run `command` to its end.

    Args:
        command: Program and arguments.
        python_path: Whether this interpreter's own PYTHONPATH applies; not for a peer's.
        env: Added to its environment.
        sample: Whether to sample the memory of the tree; it costs a few percent of a core.
        prints_json: Whether its last line on stdout is a JSON object.

    Raises:
        BenchmarkFailed: when it fails, or prints something else.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as home,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=home,
            env={**_environment(home, python_path=python_path), **(env or {})},
            start_new_session=True,
        )
        try:
            peak, status, usage = _wait(process.pid, began, sample=sample)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise BenchmarkFailed(
                f"{_shown(command)} ended with {process.returncode}: {_tail(err)}"
            )
        unit = 1 if sys.platform == "darwin" else 1024
        return Cost(
            wall_s,
            usage.ru_utime + usage.ru_stime,
            max(peak, usage.ru_maxrss * unit),
            _last_object(out, command) if prints_json else {},
        )


def program(
    name: str,
    work: Mapping[str, Any],
    *,
    peer: Path | None = None,
    env: Mapping[str, str] | None = None,
    sample: bool = False,
) -> Cost:
    """Run `benchmarks.programs.<name>` on `work`, with the peer's interpreter when it is given.

    Raises:
        BenchmarkFailed: when it fails.
    """
    command = [peer or sys.executable, "-m", f"benchmarks.programs.{name}", json.dumps(work)]
    return run(command, python_path=peer is None, env=env, sample=sample, prints_json=True)


def median_run(times: int, measure: Callable[[], Cost], key: Callable[[Cost], float]) -> Cost:
    """Measure several times and return the run whose `key` is the median (the lower middle)."""
    costs = sorted((measure() for _ in range(times)), key=key)
    return costs[(len(costs) - 1) // 2]


def medians(times: int, measures: Mapping[K, Callable[[], float]]) -> dict[K, float]:
    """Measure all of them in turn, several rounds, so that a busy moment hits each alike."""
    found: dict[K, list[float]] = {name: [] for name in measures}
    for _ in range(times):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: statistics.median(values) for name, values in found.items()}


def _wait(pid: int, began: float, *, sample: bool) -> tuple[int, int, Any]:
    """Wait for a process; return the highest memory sample, its status and its usage."""
    peak = 0
    pause_s = 0.002
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return peak, status, usage
        if time.perf_counter() - began > TIMEOUT_S:
            raise BenchmarkFailed(f"a program did not end within {TIMEOUT_S:g} s")
        if sample:
            asked = time.perf_counter()
            peak = max(peak, proc.memory_bytes(pid))
            pause_s = max(0.02, 10 * (time.perf_counter() - asked))
        time.sleep(pause_s)


def _environment(home: str, *, python_path: bool) -> dict[str, str]:
    kept = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "HOME", "LD_LIBRARY_PATH")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    own = os.environ.get("PYTHONPATH", "") if python_path else ""
    found["PYTHONPATH"] = os.pathsep.join(part for part in (str(ROOT), own) if part)
    found["HUD_HOME"] = home
    return found


def _last_object(out: Any, command: Sequence[str | Path]) -> dict[str, Any]:
    out.seek(0)
    lines: list[bytes] = out.read().splitlines()
    try:
        value = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise BenchmarkFailed(f"{_shown(command)} printed no result") from None
    if not isinstance(value, dict):
        raise BenchmarkFailed(f"{_shown(command)} printed {value!r}")
    return cast("dict[str, Any]", value)


def _shown(command: Sequence[str | Path]) -> str:
    return " ".join(str(word) for word in command)


def _tail(file: Any) -> str:
    file.seek(0)
    return file.read()[-_TAIL:].decode(errors="replace").strip()
