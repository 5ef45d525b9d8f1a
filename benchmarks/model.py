"""The model every harness asks here: a local server in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import ROOT, BenchmarkFailed

_RULE = Path(__file__).resolve().parent / "sources" / "looking_model.py"
_LINE = "MODEL_SERVER_PORT="


@contextmanager
def serving(latency: str = "0") -> Generator[str]:
    """Serve every dialect, and yield the address without a path.

    Args:
        latency: Seconds before every answer; `2-4` is anything between the two.
    """
    command = [sys.executable, "-m", "hud.testing.model_server"]
    process = subprocess.Popen(
        [*command, "--rule", f"{_RULE}:answer", "--latency", latency],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line.startswith(_LINE):
            raise BenchmarkFailed("the model server did not start")
        yield f"http://127.0.0.1:{line.removeprefix(_LINE)}"
    finally:
        process.kill()
        process.wait()
