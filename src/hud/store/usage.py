"""What reported steps used, added up per run: counted once, however often a step is reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hud.store.rows import Used
from hud.store.spans import SpanKey


def usage_by_run(used: Mapping[SpanKey, Used], spans: Iterable[SpanKey]) -> list[tuple[Any, ...]]:
    """Return what `spans` used, a row of `statements.USAGE_COLUMNS` for each run."""
    totals: dict[tuple[str, str], list[int]] = {}
    costs: dict[tuple[str, str], float | None] = {}
    for span in spans:
        if (one := used.get(span)) is None:
            continue
        run = span[:2]
        total = totals.setdefault(run, [0] * 6)
        counts = (
            *(one.prompt_tokens, one.completion_tokens, one.cached_tokens),
            *(one.llm_calls, one.turns, one.unpriced_turns),
        )
        for at, count in enumerate(counts):
            total[at] += count
        cost = costs.setdefault(run, None)
        if one.known_cost_usd is not None:
            costs[run] = (cost or 0.0) + one.known_cost_usd
    return [(*run, *total, costs[run]) for run, total in totals.items()]
