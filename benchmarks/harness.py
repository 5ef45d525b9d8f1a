"""A turn of the loop: what each harness adds to the provider's SDK and to the tool."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Setting, medians, program
from benchmarks.model import serving
from benchmarks.tables import Column, Table, Value, at_most, ratio

ABOUT = (
    "CPU time of this process per turn, in conversations in which the model calls one tool every "
    "turn and hears what it said; the model is a local server in a process of its own. `SDK` is "
    "the provider's SDK alone, in the shortest loop that calls the same tool, inside the same "
    "rollouts: as its documentation has it, and streamed where the agent streams (Messages). "
    "`beyond SDK` is the agent's turn less that: the loop, the tool's wrapping and the recording. "
    "It is below zero where the agent spares the SDK's walk over the whole conversation, which "
    "grows with its length; `beyond unwalked` compares with the shortest loop that spares it, too. "
    "The tool is a function of the agent's own, or the environment's over MCP, which the SDK's "
    "loop calls through the same client. Every turn is recorded; the peers keep what they keep "
    "by default: hud nothing on disk, Inspect its log. All are measured in turn."
)
TURNS = 50
LENGTHS = (10, 50, 100, 200)
LIMIT_MS = 3.0
PEER_RATIO = 0.5
# What a turn beyond the SDK may cost in the longest conversation, by that in the shortest.
LINEAR = 2.0
MODULES = {
    "chat": "hud.agents.openai_chat",
    "responses": "hud.agents.openai",
    "messages": "hud.agents.claude",
    "gemini": "hud.agents.gemini",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One agent or floor, in conversations of one length."""

    way: str
    dialect: str = "chat"
    tool: str = "function"
    turns: int = TURNS


def measure(setting: Setting) -> Table:
    inspect = find_inspect()
    with serving() as server:
        found = medians(
            setting.repeats(3),
            {case: _turn_ms(case, setting, server, inspect) for case in _cases(setting, inspect)},
        )
    table = Table(
        "harness",
        f"A turn of the loop, {TURNS} turns a conversation",
        ABOUT,
        (
            Column("agent"),
            Column("tool"),
            Column("turns", "d"),
            Column("SDK ms", ".2f"),
            Column("agent ms", ".2f"),
            Column("beyond SDK", ".2f"),
            Column("beyond unwalked", ".2f"),
            Column("x", ".2f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    _fill(table, found)
    return table


def find_inspect() -> Path | None:
    """Return the interpreter that HUD_BENCH_INSPECT_PYTHON names, where it has inspect-ai."""
    path = os.environ.get("HUD_BENCH_INSPECT_PYTHON", "").strip()
    if not path or not Path(path).is_file():
        return None
    look = [path, "-c", "import inspect_ai, openai"]
    looked = subprocess.run(look, check=False, capture_output=True)
    if looked.returncode:
        print(f"harness: {path} has no inspect-ai with openai; left out", file=sys.stderr)
        return None
    return Path(path).absolute()


def _cases(setting: Setting, inspect: Path | None) -> list[Case]:
    cases: list[Case] = []
    for dialect, module in MODULES.items():
        if importlib.util.find_spec(module) is None:
            print(f"harness: there is no agent for {dialect}; left out", file=sys.stderr)
            continue
        for tool in ("function", "mcp"):
            cases += [Case("bare", dialect, tool), Case("agent", dialect, tool)]
    for tool in ("function", "mcp"):
        cases.append(Case("bare", "chat, unwalked", tool))
    for turns in () if setting.quick else LENGTHS:
        for way, dialect in (("bare", "chat"), ("agent", "chat"), ("bare", "chat, unwalked")):
            cases.append(Case(way, dialect, turns=turns))
    if setting.peer is not None:
        cases += [Case("peer: bare"), Case("peer: agent")]
    if inspect is not None:
        cases += [Case("inspect: bare"), Case("inspect: agent")]
    return list(dict.fromkeys(cases))


def _turn_ms(
    case: Case, setting: Setting, server: str, inspect: Path | None
) -> Callable[[], float]:
    work: dict[str, Value] = {
        "way": case.way.rpartition(" ")[2],
        "server": server,
        "turns": case.turns,
        "conversations": 1 if setting.quick else max(2, 400 // case.turns),
    }
    name, python = "turns", None
    if case.way.startswith("peer"):
        python = setting.peer
        work["way"] = "peer" if case.way.endswith("agent") else "bare"
    elif case.way.startswith("inspect"):
        name, python = "turns_inspect", inspect
    else:
        work |= {"dialect": case.dialect, "tool": case.tool}
    return lambda: 1000 * float(program(name, work, peer=python).data["turn_s"])


def _fill(table: Table, found: Mapping[Case, float]) -> None:
    for dialect in MODULES:
        for tool in ("function", "mcp"):
            _own(table, found, Case("agent", dialect, tool))
    for turns in LENGTHS:
        if turns != TURNS:
            _own(table, found, Case("agent", turns=turns))
    shortest, longest = (found.get(Case("agent", turns=LENGTHS[at])) for at in (0, -1))
    if shortest is not None and longest is not None:
        times = longest / shortest
        name = f"hud, chat: a turn of {LENGTHS[-1]} by one of {LENGTHS[0]}"
        rest = (times, f"≤ {LINEAR:g} x", at_most(times, LINEAR))
        table.add(name, "function", None, None, None, None, None, *rest)
    beyond = _peers(table, found)
    if beyond:
        better = min(beyond, key=lambda name: beyond[name])
        ours = found[Case("agent")] - found[Case("bare")]
        limit = PEER_RATIO * beyond[better]
        name = f"hud, chat, by the better peer ({better})"
        rest = (ratio(ours, beyond[better]), f"≤ {limit:.2f} ms", at_most(ours, limit))
        table.add(name, "function", TURNS, None, None, ours, None, *rest)


def _own(table: Table, found: Mapping[Case, float], case: Case) -> None:
    """Add one of our agents, where it was measured; the stricter floor decides."""
    if case not in found:
        return
    ours = found[case]
    floor = found[Case("bare", case.dialect, case.tool, case.turns)]
    unwalked = found.get(Case("bare", f"{case.dialect}, unwalked", case.tool, case.turns))
    beyond = (ours - floor, None if unwalked is None else ours - unwalked)
    most = max(one for one in beyond if one is not None)
    rest = (None, f"≤ {LIMIT_MS:g} ms", at_most(most, LIMIT_MS))
    table.add(f"hud, {case.dialect}", case.tool, case.turns, floor, ours, *beyond, *rest)


def _peers(table: Table, found: Mapping[Case, float]) -> dict[str, float]:
    """Add the peers that were measured; return what each adds to the SDK, in ms a turn."""
    beyond: dict[str, float] = {}
    for name in ("peer", "inspect"):
        if Case(f"{name}: agent") not in found:
            continue
        floor, theirs = found[Case(f"{name}: bare")], found[Case(f"{name}: agent")]
        beyond[name] = theirs - floor
        rest = (theirs - floor, None, None, None, None)
        table.add(f"{name}, chat", "function", TURNS, floor, theirs, *rest)
    return beyond
