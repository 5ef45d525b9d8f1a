"""The same long trace in `hud view` and in the viewers of others: how long until it is seen?"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import BenchmarkFailed, Setting, program
from benchmarks.tables import MIB, Column, Table

ABOUT = (
    "The same trace in `hud view`, in `inspect view` (inspect-ai) and in Phoenix (arize-phoenix), "
    "each in its own interpreter where `HUD_BENCH_INSPECT_PYTHON` and `HUD_BENCH_PHOENIX_PYTHON` "
    "name one. Windows, cold caches, scrolling and memory as for the pages above, medians of "
    "{rounds}. The log of inspect-ai holds an event a step, pictures by hash and no conversation "
    "twice; a Phoenix gets a span a step. Seen is the first step, in Phoenix the first line of its "
    "tree; the step by its address is the one at four fifths. Phoenix loads 1,000 spans of a trace "
    "at first and takes in some 200 a second here, so the longer trace was not sent to it."
)
_INSPECT, _PHOENIX = "HUD_BENCH_INSPECT_PYTHON", "HUD_BENCH_PHOENIX_PYTHON"
_STEP = ".timeline article.step"
_LOG = "2026-01-01T00-00-00_long_1.eval"
_MIDDLE, _TREE = (760, 500), (500, 600)
_TRACE = f"{1:032x}"


@dataclass(frozen=True, slots=True)
class _Size:
    steps: int
    pictures: int
    distinct: int
    is_sent: bool

    @property
    def far(self) -> int:
        return self.steps * 4 // 5


_SIZES = (_Size(10_000, 1_000, 1_000, True), _Size(300_000, 80_000, 400, False))
_QUICK = (_Size(1_000, 100, 100, True),)


def measure(setting: Setting) -> Table:
    rounds = setting.repeats(3)
    table = Table(
        "viewers",
        "The web UI beside other viewers",
        ABOUT.format(rounds=rounds),
        (Column("what"), Column("hud view"), Column("inspect view"), Column("Phoenix")),
    )
    peers = (_python(_INSPECT), _python(_PHOENIX))
    if not any(peers):
        print(f"viewers: {_INSPECT} or {_PHOENIX} names no interpreter", file=sys.stderr)
        return table
    for size in _QUICK if setting.quick else _SIZES:
        _add(table, setting, size, rounds, *peers)
    return table


def _add(
    table: Table,
    setting: Setting,
    size: _Size,
    rounds: int,
    inspect: Path | None,
    phoenix: Path | None,
) -> None:
    folder = setting.folder / f"viewers-{size.steps}"
    folder.mkdir()
    lines = folder / "steps.jsonl"
    drawn = {"steps": size.steps, "pictures": size.pictures, "distinct": size.distinct}
    print(f"viewers: writing {size.steps:,} steps", file=sys.stderr)
    program("long_trace", {**drawn, "lines": str(lines)})
    ids = program("long_trace", {**drawn, "home": str(folder / "home"), "runs": 1}).data
    found = (
        _ours(size, rounds, folder / "home", ids["run"]),
        None if inspect is None else _inspect(size, rounds, folder, lines, inspect),
        None if phoenix is None or not size.is_sent else _phoenix(size, rounds, folder, phoenix),
    )
    name = f"{size.steps:,} steps, {size.pictures:,} screenshots"
    table.add(f"{name}: first step", *(_seconds(one, "open") for one in found))
    table.add(
        f"{name}: step {size.far:,} by its address", *(_seconds(one, "link") for one in found)
    )
    table.add(f"{name}: scrolling", *(_frame(one) for one in found))
    table.add(f"{name}: memory", *(_memory(one) for one in found))


def _ours(size: _Size, rounds: int, home: Path, run: str) -> dict[str, Any]:
    there = f'{_STEP}[aria-current][aria-label^="Step {size.far},"] .step-body'
    pages = {
        "open": (f"/trace/{run}", f"{_STEP} .step-body"),
        "link": (f"/trace/{run}?step={size.far}", there),
    }
    work = {"home": str(home), "pages": pages, "rounds": rounds, "scrolled": f"/trace/{run}"}
    data = program("pages", work).data
    return {**data["opened"], "scrolled": data}


def _inspect(
    size: _Size, rounds: int, folder: Path, lines: Path, python: Path
) -> dict[str, Any] | None:
    logs = folder / "logs"
    logs.mkdir()
    sample = f"/#/logs/{_LOG}/samples/sample/1/1/transcript"
    port = _free_port()
    work = {
        "command": [
            *(str(python.with_name("inspect")), "view", "start"),
            *("--log-dir", str(logs), "--port", str(port)),
        ],
        "env": {"HOME": str(folder), "XDG_DATA_HOME": str(folder)},
        "url": f"http://127.0.0.1:{port}",
        "pages": {
            "open": (sample, "[id^=event-panel-]"),
            "link": (f"{sample}?event=step{size.far}", f"#event-panel-step{size.far}"),
        },
        "rounds": rounds,
        "at": _MIDDLE,
    }
    return _measured(
        lambda: program("inspect_log", {"lines": str(lines), "log": str(logs / _LOG)}, peer=python),
        work,
    )


def _phoenix(size: _Size, rounds: int, folder: Path, python: Path) -> dict[str, Any] | None:
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    spans = f'{{"lines": "{folder / "steps.jsonl"}", "url": "{url}", "steps": {size.steps}}}'
    work = {
        "command": [str(python.with_name("phoenix")), "serve"],
        "env": {
            "HOME": str(folder),
            "PHOENIX_WORKING_DIR": str(folder / "phoenix"),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(_free_port()),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        },
        "url": url,
        "fill": [str(python), "-m", "benchmarks.programs.phoenix_spans", spans],
        "steps": size.steps,
        "step": size.far,
        "trace": _TRACE,
        "pages": {},
        "rounds": rounds,
        "at": _TREE,
    }
    return _measured(lambda: None, work)


def _measured(prepare: Any, work: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a viewer took, None where it could not be measured at all."""
    try:
        prepare()
        return program("viewers", work).data
    except BenchmarkFailed as failure:
        print(f"viewers: {failure}", file=sys.stderr)
        return None


def _seconds(found: Mapping[str, Any] | None, name: str) -> str | None:
    if found is None:
        return None
    return "not seen in 60 s" if found[name] is None else f"{found[name]:.2f} s"


def _frame(found: Mapping[str, Any] | None) -> str | None:
    held = None if found is None else found["scrolled"]
    return None if held is None else f"{held['frame_ms']:.1f} ms"


def _memory(found: Mapping[str, Any] | None) -> str | None:
    held = None if found is None else found["scrolled"]
    return None if held is None else f"{held['renderer_bytes'] / MIB:.0f} MiB"


def _python(name: str) -> Path | None:
    path = os.environ.get(name)
    return Path(path) if path else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
