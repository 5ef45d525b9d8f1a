"""Rollouts behind a bundle's wall: what it costs over a warm fork and a bare wall."""

from __future__ import annotations

from benchmarks.measure import LETTERS, Setting, program
from benchmarks.tables import Column, Table, at_most

ABOUT = (
    "A place from acquire to release, one after the other, medians of {count}. The floor is a warm "
    "fork of the same source (`SubprocessRuntime`) plus a bare `bwrap --unshare-all` whose program "
    "lays one overlay and ends: what a rollout of its own behind a wall of its own would take."
)
TARGET = 2.0


def measure(setting: Setting) -> Table:
    count = 30 if setting.quick else 200
    table = Table(
        "bundle",
        "BundleRuntime",
        ABOUT.format(count=count),
        (
            Column("what"),
            Column("ms", ",.2f"),
            Column("x floor", ".2f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    found = program("bundled", {"count": count, "source": str(LETTERS)}).data
    floor = found["fork_s"] + found["wall_s"]
    table.add("warm fork", found["fork_s"] * 1000, None, None, None)
    table.add("bare bubblewrap with an overlay", found["wall_s"] * 1000, None, None, None)
    times = found["bundle_s"] / floor
    table.add(
        "bundle rollout", found["bundle_s"] * 1000, times, f"≤ {TARGET:g}x", at_most(times, TARGET)
    )
    return table
