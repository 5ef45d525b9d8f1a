"""Steps that were reported in spans find their numbers.

Spans come at least once, in any order, from several servers at once. A step is known by its span;
the number it wishes for is its own unless another span has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hud.store.rows import FIRST_ARRIVAL
from hud.store.session import Session

COLUMNS = (
    *("team", "run_id", "seq", "source"),
    *("started_at", "ended_at", "has_blobs", "payload", "span_id"),
)
_TEAM, _RUN, _SEQ, _SPAN = 0, 1, 2, 8
_KEY = ("team", "run_id", "span_id", "seq")

_INSERT = f"INSERT INTO steps ({', '.join(COLUMNS)}) {{rows}} ON CONFLICT DO NOTHING"
# A step of the wished number without a span was recorded beside this store: it is the same one.
_ABSENT = """
SELECT column1, column2, column3 FROM ({rows}) AS v WHERE NOT EXISTS (
  SELECT 1 FROM steps WHERE team = column1 AND run_id = column2 AND span_id = column3
) AND NOT EXISTS (
  SELECT 1 FROM steps
  WHERE team = column1 AND run_id = column2 AND seq = column4 AND span_id IS NULL
)
"""
_LAST = """
SELECT column1, column2, (SELECT max(seq) FROM steps WHERE team = column1 AND run_id = column2)
FROM ({rows}) AS v
"""

Step = tuple[Any, ...]


def insert_spans(session: Session, steps: Sequence[Step]) -> None:
    """Insert the steps that are not there yet; each a tuple of `COLUMNS`."""
    distinct = {(step[_TEAM], step[_RUN], step[_SPAN]): step for step in reversed(steps)}
    numbered: list[Step] = []
    others: list[Step] = []
    for step in reversed(distinct.values()):
        (numbered if 0 < step[_SEQ] < FIRST_ARRIVAL else others).append(step)
    if numbered and session.change_rows(_INSERT, COLUMNS, numbered) < len(numbered):
        others += _absent(session, numbered)
    # One round, unless another server numbered steps of the same run at the same time.
    while others:
        others = _with_numbers(session, others)
        if session.change_rows(_INSERT, COLUMNS, others) == len(others):
            break
        others = _absent(session, others)


def _absent(session: Session, steps: list[Step]) -> list[Step]:
    keys = [(step[_TEAM], step[_RUN], step[_SPAN], step[_SEQ]) for step in steps]
    absent = set(session.query_rows(_ABSENT, _KEY, keys))
    return [step for step in steps if (step[_TEAM], step[_RUN], step[_SPAN]) in absent]


def _with_numbers(session: Session, steps: list[Step]) -> list[Step]:
    runs = list(dict.fromkeys((step[_TEAM], step[_RUN]) for step in steps))
    last: dict[tuple[str, str], int] = {}
    for team, run_id, number in session.query_rows(_LAST, ("team", "run_id"), runs):
        last[team, run_id] = max(number or 0, FIRST_ARRIVAL - 1)
    numbered: list[Step] = []
    for step in steps:
        run = (step[_TEAM], step[_RUN])
        last[run] += 1
        numbered.append((*step[:_SEQ], last[run], *step[_SEQ + 1 :]))
    return numbered
