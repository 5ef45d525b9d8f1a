"""Streams through the gateway: what it adds to each piece, beside bare relays and no relay."""

from __future__ import annotations

from typing import Any

from benchmarks.measure import Setting, program
from benchmarks.tables import MIB, Column, Table, Value, at_most

ABOUT = (
    "{streams} streams at once, each of {pieces} pieces, one every {pace} ms: {rate:,.0f} pieces a "
    "second. Provider, client and what stands between them are three processes on the same cores. "
    "A piece's delay is from the moment the provider wrote it to the moment the client read it, "
    "the first piece's from the moment the request was sent; `added` is the delay less that of "
    "the direct way, percentile by percentile. The gateway is `hud platform up`: it knows the key, "
    "finds the provider, asks for the usage and hides it again, reads it and writes it down. The "
    "bare relays do nothing of that: they are uvicorn with one HTTP client, on uvloop. All take "
    "turns, {rounds} rounds; the load of the machine before it was {load:.1f}. The gateway's "
    "process held {held:.0f} MiB at the end."
)
MEDIAN_MS, P99_MS = 2.0, 10.0
WAYS = {
    "direct": "direct",
    "aiohttp": "bare relay: aiohttp",
    "httpx2": "bare relay: httpx2",
    "httpx": "bare relay: httpx",
    "gateway": "gateway",
}


def measure(setting: Setting) -> Table:
    """Measure all ways in turn."""
    work: dict[str, Any] = {
        "streams": 20 if setting.quick else 200,
        "pieces": 20 if setting.quick else 100,
        "pace_ms": 50,
        "times": 3,
        "rounds": setting.repeats(3),
        "relays": ["aiohttp", "httpx2", "httpx"],
        "loop": "uvloop",
    }
    found = program("streams", work).data
    about = ABOUT.format(
        streams=work["streams"],
        pieces=work["pieces"],
        pace=work["pace_ms"],
        rate=1000 * work["streams"] / work["pace_ms"],
        rounds=work["rounds"],
        load=found["load"],
        held=found["memory_bytes"] / MIB,
    )
    columns = [Column("way")]
    for kind in ("piece", "first"):
        columns += [Column(f"{kind} p50", ".2f"), Column(f"{kind} p99", ".2f")]
        columns += [Column("added", ".2f"), Column("added", ".2f")]
    columns += [Column("CPU µs a piece", ".0f"), Column("target"), Column("verdict")]
    table = Table("gateway", "Streams through the gateway, ms", about, tuple(columns))
    for name, label in WAYS.items():
        table.add(label, *_row(name, found["ways"]))
    return table


def _row(name: str, ways: dict[str, Any]) -> list[Value]:
    values: list[Value] = []
    kept = "ok"
    for kind in ("piece", "first"):
        p50, p99 = (ways[name][kind][level] for level in ("p50", "p99"))
        values += [p50, p99]
        if name == "direct":
            values += [None, None]
            continue
        added = (p50 - ways["direct"][kind]["p50"], p99 - ways["direct"][kind]["p99"])
        values += added
        verdicts = (at_most(added[0], MEDIAN_MS), at_most(added[1], P99_MS))
        kept = "MISS" if "MISS" in verdicts else kept
    values.append(ways[name]["cpu_us"] or None)
    if name == "gateway":
        return [*values, f"added ≤ {MEDIAN_MS:g} and ≤ {P99_MS:g}", kept]
    return [*values, None, None]
