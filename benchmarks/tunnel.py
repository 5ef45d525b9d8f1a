"""What a capability's tunnel costs beside relays that do nothing else."""

from __future__ import annotations

from benchmarks.measure import Setting, program
from benchmarks.tables import Column, Table, at_least

ABOUT = (
    "A client reads {megabytes} MiB from a server, then single bytes. Through the tunnel they pass "
    "the client's forwarder and the environment's port; the floor is two relays in the same two "
    "processes, as bare as asyncio has them. Both take turns, {rounds} times; medians."
)
SHARE = 0.8


def measure(setting: Setting) -> Table:
    work = {"megabytes": 64 if setting.quick else 512, "rounds": 2 if setting.quick else 7}
    table = Table(
        "tunnel",
        "A capability's stream through the environment's port",
        ABOUT.format(**work),
        (
            Column("stream"),
            Column("MiB/s", ",.0f"),
            Column("of floor", ".0%"),
            Column("delay µs", ",.0f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    found = program("tunnels", work).data
    share = found["bare"] / found["ours"]
    size = work["megabytes"]
    table.add(
        "floor: two bare relays", size / found["bare"], None, found["bare_delay"] * 1e6, None, None
    )
    table.add(
        "tunnel",
        size / found["ours"],
        share,
        found["our_delay"] * 1e6,
        f"≥ {SHARE:.0%}",
        at_least(share, SHARE),
    )
    return table
