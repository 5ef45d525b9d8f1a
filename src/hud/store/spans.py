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
SELECT column1, column2, column3, EXISTS (
  SELECT 1 FROM steps WHERE team = column1 AND run_id = column2 AND seq = column4
) FROM ({rows}) AS v WHERE NOT EXISTS (
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
SpanKey = tuple[str, str, str]
"""Team, run and span."""


def insert_spans(session: Session, steps: Sequence[Step]) -> list[SpanKey]:
    """Insert the steps that are not there yet, each a tuple of `COLUMNS`; return which."""
    distinct = {_key(step): step for step in reversed(steps)}
    pending = list(reversed(distinct.values()))
    # Nearly always all are new and one insertion does. Then one more look does, unless another
    # server writes steps of the same run at the same time.
    while pending:
        session.change("SAVEPOINT spans", ())
        inserted = session.change_rows(_INSERT, COLUMNS, _with_numbers(session, pending))
        if inserted == len(pending):
            session.change("RELEASE SAVEPOINT spans", ())
            break
        session.change("ROLLBACK TO SAVEPOINT spans", ())
        session.change("RELEASE SAVEPOINT spans", ())
        pending = _absent(session, pending)
    return [_key(step) for step in pending]


def _key(step: Step) -> SpanKey:
    return (step[_TEAM], step[_RUN], step[_SPAN])


def _absent(session: Session, steps: list[Step]) -> list[Step]:
    """Return the steps that are not there yet, without the number that another one has."""
    keys = [(*_key(step), step[_SEQ]) for step in steps]
    absent = {
        (team, run_id, span_id): is_taken
        for team, run_id, span_id, is_taken in session.query_rows(_ABSENT, _KEY, keys)
    }
    found: list[Step] = []
    wished: set[tuple[str, str, int]] = set()
    for step in steps:
        if (is_taken := absent.get(_key(step))) is None:
            continue
        number = (step[_TEAM], step[_RUN], step[_SEQ])
        found.append((*step[:_SEQ], 0, *step[_SEQ + 1 :]) if is_taken or number in wished else step)
        wished.add(number)
    return found


def _with_numbers(session: Session, steps: list[Step]) -> list[Step]:
    unnumbered = [step for step in steps if not 0 < step[_SEQ] < FIRST_ARRIVAL]
    if not unnumbered:
        return steps
    runs = list(dict.fromkeys((step[_TEAM], step[_RUN]) for step in unnumbered))
    last: dict[tuple[str, str], int] = {}
    for team, run_id, number in session.query_rows(_LAST, ("team", "run_id"), runs):
        last[team, run_id] = max(number or 0, FIRST_ARRIVAL - 1)
    numbered: list[Step] = []
    for step in steps:
        if 0 < step[_SEQ] < FIRST_ARRIVAL:
            numbered.append(step)
            continue
        run = (step[_TEAM], step[_RUN])
        last[run] += 1
        numbered.append((*step[:_SEQ], last[run], *step[_SEQ + 1 :]))
    return numbered
