"""Rollouts in processes of their own: what isolation costs over a bare fork."""

from __future__ import annotations

import sys

from benchmarks.measure import Setting
from benchmarks.rollouts import Load, Rate, held, rates
from benchmarks.tables import MIB, Column, Table, at_least, at_most, ratio

ABOUT = (
    "The same task, each rollout in a process forked from a warm parent that has imported the "
    "source; the parent is started and used once before the clock runs. `fork, exit` forks a "
    "process with the same modules loaded and reaps it; `fork, echo` lets the child start an event "
    "loop and answer the four messages of a rollout: the least a served rollout in its own process "
    "can do. CPU time is the whole tree's. Memory is the whole tree's with that many rollouts in "
    "flight, shared pages counted once. The peer starts an interpreter for each rollout."
)
TARGET_CONCURRENT = 8
PER_S, OVER_FORK = 150.0, 3.0
SIZES = (1, 8, 10, 100, 1_000)
PEER_ROLLOUTS = 8


def measure(setting: Setting) -> Table:
    table = Table(
        "subprocess",
        "SubprocessRuntime",
        ABOUT,
        (
            Column("what"),
            Column("concurrent", ",d"),
            Column("per second", ",.1f"),
            Column("CPU ms", ",.2f"),
            Column("tree MiB", ",.0f"),
            Column("MiB each", ",.2f"),
            Column("fork / ours", ".1f"),
            Column("echo / ours", ".1f"),
            Column("x peer", ".0f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    peer = _peer(table, setting)
    for size in (TARGET_CONCURRENT,) if setting.quick else SIZES:
        _size(table, setting, size, peer)
    return table


def _peer(table: Table, setting: Setting) -> Rate | None:
    if setting.peer is None:
        return None
    print("subprocess: the peer", file=sys.stderr)
    work = {
        "place": "subprocess",
        "rollouts": PEER_ROLLOUTS,
        "concurrent": TARGET_CONCURRENT,
        "warm_up": 1,
        "tasks": 1,
    }
    found = rates(1, {"peer": Load("rollouts", work, setting.peer)})["peer"]
    table.add("peer", TARGET_CONCURRENT, found.per_s, found.cpu_s * 1e3, *(None,) * 7)
    return found


def _size(table: Table, setting: Setting, size: int, peer: Rate | None) -> None:
    print(f"subprocess: {size:,}", file=sys.stderr)
    times = setting.repeats(3)
    work = {"rollouts": max(size, 100 if setting.quick or size == 1 else 400), "concurrent": size}
    found = rates(
        times,
        {
            "floor: fork, exit": Load("forks", {**work, "does": "bare"}),
            "floor: fork, echo": Load("forks", {**work, "does": "echo"}),
            "SubprocessRuntime": Load("rollouts", {**work, "place": "subprocess"}),
        },
    )
    bare, echo, ours = found.values()
    memory = held("subprocess", size)
    for name in list(found)[:2]:
        table.add(name, size, found[name].per_s, found[name].cpu_s * 1e3, *(None,) * 7)
    over_bare, over_echo = bare.per_s / ours.per_s, echo.per_s / ours.per_s
    target = verdict = None
    if size == TARGET_CONCURRENT:
        target = f"≥ {PER_S:g}/s, fork / ours ≤ {OVER_FORK:g}"
        both = {at_least(ours.per_s, PER_S), at_most(over_bare, OVER_FORK)}
        verdict = "ok" if both == {"ok"} else "MISS"
    table.add(
        "SubprocessRuntime",
        size,
        ours.per_s,
        ours.cpu_s * 1e3,
        memory.tree_bytes / MIB,
        None if memory.each_bytes is None else memory.each_bytes / MIB,
        over_bare,
        over_echo,
        ratio(ours.per_s, peer.per_s) if peer and size == TARGET_CONCURRENT else None,
        target,
        verdict,
    )
