"""A training step's group: sixteen rollouts of one task on a live environment, at once."""

from __future__ import annotations

from benchmarks.measure import Setting, median_run, program
from benchmarks.tables import Column, Table, at_most, ratio

ABOUT = (
    "One task, `group={size}`, an agent that takes {wait:g} s, on the live environment the task "
    "was minted by: the shape of a GRPO step. Wall time of `Taskset.run`, recorded. The floor is "
    "the agent's own time. The peer serves one rollout of a live environment at a time."
)
SIZE, WAIT_S, WITHIN_S = 16, 0.3, 1.0


def measure(setting: Setting) -> Table:
    table = Table(
        "group",
        f"A group of {SIZE}",
        ABOUT.format(size=SIZE, wait=WAIT_S),
        (
            Column("what"),
            Column("seconds", ".3f"),
            Column("floor", ".3f"),
            Column("x floor", ".2f"),
            Column("x peer", ".1f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    work = {
        "place": "implied",
        "rollouts": SIZE,
        "concurrent": SIZE,
        "wait_s": WAIT_S,
        "tasks": 1,
        "warm_up": 0,
    }
    peer_s = None
    if setting.peer is not None:
        peer_s = float(program("rollouts", work, peer=setting.peer).data["wall_s"])
        table.add("peer", peer_s, WAIT_S, peer_s / WAIT_S, None, None, None)
    ours = median_run(
        setting.repeats(5),
        lambda: program("rollouts", work),
        key=lambda cost: float(cost.data["wall_s"]),
    )
    ours_s = float(ours.data["wall_s"])
    times = ratio(peer_s, ours_s)
    verdict = at_most(ours_s, WITHIN_S)
    table.add("hud", ours_s, WAIT_S, ours_s / WAIT_S, times, f"< {WITHIN_S:g} s", verdict)
    return table
