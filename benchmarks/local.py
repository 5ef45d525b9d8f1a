"""Rollouts in this process: what the house adds to the messages and to the rows."""

from __future__ import annotations

import sys

from benchmarks.measure import Setting
from benchmarks.rollouts import Held, Load, Rate, held, rates
from benchmarks.tables import MIB, Column, Table, Value, at_least, ratio

ABOUT = (
    "The letter-count task with an agent that answers at once, recorded (a rollout counts when its "
    "rows are synced to disk). The sources: a path (compiled once, executed afresh per rollout), a "
    "live environment, a constructor. Memory is the whole tree's while that many rollouts are held "
    "in flight, and what each adds to the idle process. Floors from the same "
    "invocation: `echo`, four round trips of JSON lines on bare asyncio, handed over in memory or "
    "on TCP loopback, and `commit`, the rows through bare SQLite with the same durability. "
    "`x floor` is the CPU time of a rollout by that of both floors in memory together. "
    "The peer serves a path too, with nothing recorded: without a key it keeps no record."
)
PEER_RATIO = 4.0
COMPARED = 50
SIZES = (1, 10, 50, 100, 1_000)
LARGEST = 10_000
PLACES = ("path", "live", "constructor")
TCP, MEMORY, COMMIT = "floor: echo, TCP", "floor: echo, memory", "floor: commit"
PEER = "peer: path"


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
            Column("tree MiB", ",.0f"),
            Column("KiB each", ",.1f"),
            Column("x floor", ".1f"),
            Column("x peer", ".1f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    for size in (1, COMPARED) if setting.quick else (*SIZES, LARGEST):
        print(f"local: {size:,}", file=sys.stderr)
        _size(table, setting, size)
    return table


def _size(table: Table, setting: Setting, size: int) -> None:
    """Measure the floors, every source, and where it is compared the peer, at one concurrency."""
    peer = setting.peer if size == COMPARED else None
    count = _count(size, setting)
    places = PLACES if size < LARGEST else ("constructor",)
    floor = {"rollouts": max(count, 2_000), "concurrent": size}
    loads = {
        TCP: Load("echo", {**floor, "over": "tcp"}),
        MEMORY: Load("echo", {**floor, "over": "memory"}),
        COMMIT: Load("commits", floor),
    }
    if size == LARGEST:
        del loads[TCP]
    if peer is not None:
        work = {"place": "path", "rollouts": count, "concurrent": size}
        loads[PEER] = Load("rollouts", work, peer)
    for place in places:
        loads[place] = Load("rollouts", {"place": place, "rollouts": count, "concurrent": size})
    found = rates(setting.repeats(3), loads)
    least_s = found[MEMORY].cpu_s + found[COMMIT].cpu_s
    for name, rate in found.items():
        if name not in places:
            memory = held("path", size, peer=peer) if name == PEER else None
            _add(table, name, size, rate, memory)
            continue
        times = ratio(rate.per_s, found[PEER].per_s) if PEER in found else None
        target = verdict = None
        if name == "path" and times is not None:
            target, verdict = f"≥ {PEER_RATIO:g} x peer", at_least(times, PEER_RATIO)
        rest = (ratio(rate.cpu_s, least_s), times, target, verdict)
        _add(table, name, size, rate, held(name, size), rest)


def _add(
    table: Table,
    name: str,
    size: int,
    found: Rate,
    memory: Held | None,
    rest: tuple[Value, ...] = (None, None, None, None),
) -> None:
    tree = None if memory is None else memory.tree_bytes / MIB
    each = None if memory is None or memory.each_bytes is None else memory.each_bytes / 1024
    table.add(name, size, found.per_s, found.cpu_s * 1e6, tree, each, *rest)


def _count(size: int, setting: Setting) -> int:
    """Return how many rollouts to run: enough for a second or two, never fewer than in flight."""
    if setting.quick:
        return max(size, 300)
    return max(size, 300 if size == 1 else 3_000)
