"""The web UI in a real browser: how long until something is seen, and is scrolling smooth?"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from benchmarks.measure import Setting, program
from benchmarks.tables import MIB, Column, Table, at_most

ABOUT = (
    "Pages of `hud view` in a real Chromium with software rendering and a cold cache, a window of "
    "1440 by 900: from going to the address until what is asked for can be seen, the median of "
    "{rounds}. Scrolling is 240 turns of the wheel through the trace once it is open; of the time "
    "between two frames the 95th percentile. Memory is the renderer's own after that (PSS). The "
    "floor is a page of settings, which shows next to nothing."
)
_FLOOR = ("/settings/keys", ".settings-page h2")
_STEP = ".timeline article.step .step-body"
_CELL = "a.cell"


@dataclass(frozen=True, slots=True)
class _Size:
    steps: int
    pictures: int
    distinct: int
    runs: int


_SIZES = (_Size(10_000, 1_000, 1_000, 10_000), _Size(300_000, 80_000, 400, 1))
_QUICK = (_Size(2_000, 100, 100, 1_000),)
_OPEN_S, _LINK_S, _JOB_S, _FRAME_MS, _MEMORY_MIB = 1.0, 1.5, 1.0, 25.0, 400.0


def measure(setting: Setting) -> Table:
    rounds = setting.repeats(5)
    table = Table(
        "pages",
        "The web UI",
        ABOUT.format(rounds=rounds),
        (
            Column("what"),
            Column("measured"),
            Column("floor"),
            Column("target"),
            Column("verdict"),
        ),
    )
    for size in _QUICK if setting.quick else _SIZES:
        _add(table, setting, size, rounds)
    return table


def _add(table: Table, setting: Setting, size: _Size, rounds: int) -> None:
    home = setting.folder / f"pages-{size.steps}"
    print(f"pages: writing {size.steps:,} steps", file=sys.stderr)
    work = {
        "home": str(home),
        "steps": size.steps,
        "pictures": size.pictures,
        "distinct": size.distinct,
        "runs": size.runs,
    }
    ids = program("long_trace", work).data
    far = size.steps * 4 // 5
    pages = {
        "floor": _FLOOR,
        "open": (f"/trace/{ids['run']}", _STEP),
        "link": (f"/trace/{ids['run']}?step={far}", _current(far)),
    }
    if size.runs > 1:
        pages["job"] = (f"/jobs/{ids['job']}", _CELL)
    asked = {"home": str(home), "pages": pages, "rounds": rounds}
    found = program("pages", {**asked, "scrolled": f"/trace/{ids['run']}"}).data
    opened: dict[str, float] = found["opened"]
    floor = f"{opened['floor']:.2f} s"
    name = f"{size.steps:,} steps, {size.pictures:,} screenshots"
    rows = [
        (f"{name}: first step", opened["open"], _OPEN_S),
        (f"{name}: step {far:,} by its address", opened["link"], _LINK_S),
    ]
    if size.runs > 1:
        rows.append((f"a job of {size.runs:,} runs: first cell", opened["job"], _JOB_S))
    for what, seconds, most in rows:
        verdict = at_most(seconds, most)
        table.add(what, f"{seconds:.2f} s", floor, f"≤ {most:g} s", verdict)
    frame, memory = found["frame_ms"], found["renderer_bytes"] / MIB
    verdict = at_most(frame, _FRAME_MS)
    table.add(f"{name}: scrolling", f"{frame:.1f} ms", "16.7 ms", f"≤ {_FRAME_MS:g} ms", verdict)
    verdict = at_most(memory, _MEMORY_MIB)
    table.add(f"{name}: memory", f"{memory:.0f} MiB", None, f"≤ {_MEMORY_MIB:g} MiB", verdict)


def _current(step: int) -> str:
    return f'.timeline article.step[aria-current][aria-label^="Step {step},"] .step-body'
