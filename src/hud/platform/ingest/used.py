"""What the model turns of a step used, read from the step as it was reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from hud.platform.ingest.lenient import count_of, number_of, object_of
from hud.store import Used

_DEEPEST = 8


def used_in(step: dict[str, Any]) -> Used | None:
    """Return what a step's own turn and those of the subagent in it used; None without any."""
    counts = {"prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}
    llm_calls = turns = unpriced = 0
    cost: float | None = None
    for usage in _usages(step, 0):
        turns += 1
        if usage is None:
            continue
        for name in counts:
            counts[name] += count_of(usage.get(name)) or 0
        llm_calls += count_of(usage.get("llm_call_count")) or 1
        price = number_of(usage.get("cost_usd"))
        if price is None:
            unpriced += 1
        else:
            cost = (cost or 0.0) + price
    if not turns:
        return None
    return Used(
        **counts, llm_calls=llm_calls, turns=turns, unpriced_turns=unpriced, known_cost_usd=cost
    )


def _usages(step: dict[str, Any], depth: int) -> Iterator[dict[str, Any] | None]:
    """Yield the usage of every model turn; None stands for a turn that reported none."""
    if step.get("source") == "agent":
        yield object_of(step.get("usage"))
    inner = object_of(step.get("subagent"))
    if inner is None or depth >= _DEEPEST:
        return
    steps = inner.get("steps")
    for item in cast("list[Any]", steps) if isinstance(steps, list) else ():
        if isinstance(item, dict):
            yield from _usages(cast("dict[str, Any]", item), depth + 1)
