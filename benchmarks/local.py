"""Rollouts in this process: what the house adds to the messages and to the rows."""

from __future__ import annotations

import sys

from benchmarks.measure import Setting
from benchmarks.rollouts import Rate, held_bytes, rate
from benchmarks.tables import Column, Table, Value, at_least, ratio

ABOUT = (
    "The letter-count task with an agent that answers at once, recorded (a rollout counts when its "
    "rows are synced to disk). The sources: a path (compiled once, executed afresh per rollout), a "
    "live environment, a constructor. Memory is the whole tree's while every rollout of a job is "
    "held in flight, less the idle process, by the number of rollouts. Floors from the same "
    "invocation: `echo`, four round trips of JSON lines on bare asyncio, handed over in memory or "
    "on TCP loopback, and `commit`, the rows through bare SQLite with the same durability. "
    "`x floor` is the CPU time of a rollout by that of both floors in memory together. "
    "The peer serves a path too, with nothing recorded: without a key it keeps no record."
)
PEER_RATIO = 4.0
PEER_CONCURRENT = 50
SIZES = (1, 10, 50, 100, 1_000)
LARGEST = 10_000
PLACES = ("path", "live", "constructor")


def measure(setting: Setting) -> Table:
    table = Table(
        "local",
        "LocalRuntime",
        ABOUT,
        (
            Column("source"),
            Column("concurrent", ",d"),
            Column("rollouts/s", ",.0f"),
            Column("CPU µs", ",.0f"),
            Column("KiB in flight", ",.1f"),
            Column("x floor", ".1f"),
            Column("x peer", ".1f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    sizes = (1, PEER_CONCURRENT) if setting.quick else SIZES
    floors = {size: _floors(table, setting, size) for size in sizes}
    if not setting.quick:
        floors[LARGEST] = _floors(table, setting, LARGEST)
    peer = _peer(table, setting)
    for place in PLACES:
        for size in sizes if place != "constructor" else floors:
            _ours(table, setting, place, size, floors[size], peer)
    return table


def _floors(table: Table, setting: Setting, size: int) -> float:
    """Measure the floors at one concurrency; return the CPU seconds of the lowest together."""
    work = {"rollouts": max(_count(size, setting), 2_000), "concurrent": size}
    together = 0.0
    for name, program, more in (
        ("floor: echo, TCP", "echo", {"over": "tcp"}),
        ("floor: echo, memory", "echo", {"over": "memory"}),
        ("floor: commit", "commits", {}),
    ):
        if more.get("over") == "tcp" and size > 1_000:
            continue
        found = rate(program, {**work, **more}, times=setting.repeats(3))
        together += 0.0 if more.get("over") == "tcp" else found.cpu_s
        _add(table, name, size, found, None)
    return together


def _peer(table: Table, setting: Setting) -> Rate | None:
    if setting.peer is None:
        return None
    work = {"place": "path", "rollouts": 500, "concurrent": PEER_CONCURRENT}
    found = rate("rollouts", work, times=setting.repeats(3), peer=setting.peer)
    held = held_bytes("path", PEER_CONCURRENT, peer=setting.peer)
    _add(table, "peer: path", PEER_CONCURRENT, found, held)
    return found


def _ours(
    table: Table, setting: Setting, place: str, size: int, floor: float, peer: Rate | None
) -> None:
    print(f"local: {place} at {size:,}", file=sys.stderr)
    work = {"place": place, "rollouts": _count(size, setting), "concurrent": size}
    found = rate("rollouts", work, times=setting.repeats(3))
    held = held_bytes(place, size)
    times = ratio(found.per_s, peer.per_s) if peer and size == PEER_CONCURRENT else None
    target = verdict = None
    if place == "path" and times is not None:
        target, verdict = f"≥ {PEER_RATIO:g} x peer", at_least(times, PEER_RATIO)
    row: tuple[Value, ...] = (ratio(found.cpu_s, floor), times, target, verdict)
    _add(table, place, size, found, held, row)


def _add(
    table: Table,
    name: str,
    size: int,
    found: Rate,
    held: float | None,
    rest: tuple[Value, ...] = (None, None, None, None),
) -> None:
    kib = None if held is None else held / 1024
    table.add(name, size, found.per_s, found.cpu_s * 1e6, kib, *rest)


def _count(size: int, setting: Setting) -> int:
    """Return how many rollouts to run: enough for a second or two, never fewer than in flight."""
    if setting.quick:
        return max(size, 300)
    return max(size, 300 if size == 1 else 3_000)
