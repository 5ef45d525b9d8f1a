"""What a picture of a page or of a desktop costs beside the driver used bare."""

from __future__ import annotations

import shutil

from benchmarks.measure import BenchmarkFailed, Setting, program
from benchmarks.tables import Column, Table, at_most

ABOUT = (
    "A 1280 by 720 page of Chromium and a 1024 by 768 desktop of TigerVNC on which a terminal goes "
    "on writing, as PNG, {rounds} times each, taking turns, each at a random moment of the "
    "screen's frames; medians. Ours go through the client's "
    "forwarder and the environment's port; the floors are `Page.captureScreenshot` on a bare "
    "WebSocket with the same flags, and asyncvnc with the same encoder, each through two relays."
)
SLOWER = 1.2


def measure(setting: Setting) -> Table:
    for name in ("chromium", "Xtigervnc", "xterm"):
        if shutil.which(name) is None:
            raise BenchmarkFailed(f"{name} is not installed here")
    work = {"rounds": 10 if setting.quick else 100}
    found = program("screens", work).data
    table = Table(
        "screens",
        "A picture of a page, and of a desktop",
        ABOUT.format(**work),
        (
            Column("picture"),
            Column("ms", ".1f"),
            Column("over floor", ".2f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    for kind, driver in (("page", "WebSocket"), ("desktop", "asyncvnc")):
        floor, ours = found[f"{kind}_bare"], found[f"{kind}_ours"]
        table.add(f"{kind}, floor: {driver}", floor * 1e3, None, None, None)
        target, verdict = f"≤ {SLOWER:g}", at_most(ours / floor, SLOWER)
        table.add(kind, ours * 1e3, ours / floor, target, verdict)
    return table
