"""What running a command in a workspace's sandbox costs beside a bare bubblewrap."""

from __future__ import annotations

import shutil

from benchmarks.measure import BenchmarkFailed, Setting, program
from benchmarks.tables import Column, Table, at_most

ABOUT = (
    "The program `true`, {rounds} times in every way, taking turns; medians. The floor is "
    "bubblewrap with the same namespaces, started by `subprocess.run`: what a sandbox per command "
    "would cost at least. A workspace has one sandbox, which commands join. At the end {shells} "
    "shells sleep for 0.2 s at once over one connection."
)
SLOWER = 2.0


def measure(setting: Setting) -> Table:
    if shutil.which("bwrap") is None:
        raise BenchmarkFailed("bwrap is not installed here")
    work = {"rounds": 20 if setting.quick else 200, "shells": 50}
    found = program("sandboxes", work).data
    table = Table(
        "sandbox",
        "A command in a workspace",
        ABOUT.format(**work),
        (
            Column("way"),
            Column("ms", ".2f"),
            Column("over floor", ".2f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    floor = found["bare"]
    table.add("floor: bare bwrap true", floor * 1e3, None, None, None)
    for name, label in (("tunnel", "ssh, through the tunnel"), ("ssh", "ssh, straight")):
        ratio = found[name] / floor
        table.add(label, found[name] * 1e3, ratio, f"≤ {SLOWER:g}", at_most(ratio, SLOWER))
    table.add("sandbox.run", found["run"] * 1e3, found["run"] / floor, None, None)
    table.add(
        "sandbox, started and ended", found["start"] * 1e3, found["start"] / floor, None, None
    )
    shells, succeeded = work["shells"], found["succeeded"]
    table.add(
        f"{shells} shells at once, {succeeded:.0f} of them well",
        found["many_s"] * 1e3,
        None,
        "all",
        "ok" if succeeded == shells else "MISS",
    )
    return table
