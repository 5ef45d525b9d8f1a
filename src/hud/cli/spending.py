"""What `hud usage` and `hud budgets` ask the platform, and how they show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hud._core.errors import InputError, bounded
from hud.api import calls
from hud.api.client import BlockingPlatformClient
from hud.api.place import required_place
from hud.api.replies import Budget, UsageSum
from hud.cli import streams
from hud.cli.tables import table

GROUPS = ("model", "provider", "key", "job", "trace", "status")
_NUMBERS = ("CALLS", "FAILED", "CACHED", "TOKENS IN", "TOKENS OUT", "COST")
_HINT = f"by one to three of: {', '.join(GROUPS)}"


def show_usage(
    by: Sequence[str], filters: Mapping[str, str | None], *, limit: int, as_json: bool
) -> None:
    """Show sums of calls by group, and everything together in the last row."""
    unknown = [one for one in by if one not in GROUPS]
    if unknown:
        raise InputError(f"usage is not grouped by {bounded(unknown[0])!r}", hint=_HINT)
    if len(set(by)) > 3:
        raise InputError("usage is grouped by three things at most")
    with BlockingPlatformClient(required_place()) as client:
        usage = client.send(calls.usage(by, filters, limit))
    if as_json:
        streams.write_json(usage.model_dump(mode="json"))
        return
    header = (*(one.upper() for one in by), *_NUMBERS)
    rows = [(*(str(row.group.get(one) or "-") for one in by), *_sums(row)) for row in usage.items]
    rows.append(("all", *("" for _ in by[1:]), *_sums(usage.total)))
    right = tuple(range(len(by), len(header)))
    streams.write(table(header, rows, right=right, width=streams.stdout_width(), shrink=0))
    if usage.total.unpriced_calls:
        streams.note(f"{usage.total.unpriced_calls} calls of unknown price are not in the cost")


def list_budgets(*, as_json: bool) -> None:
    """Show the budgets of the key's team."""
    with BlockingPlatformClient(required_place()) as client:
        found = client.send(calls.budgets()).items
    if as_json:
        streams.write_json({"budgets": [one.model_dump(mode="json") for one in found]})
    elif not found:
        streams.note("there is no budget; hud budgets set team --max-cost USD sets one")
    else:
        _show(found)


def set_budget(
    scope: str, subject: str, *, max_cost_usd: float | None, max_tokens: int | None, as_json: bool
) -> None:
    """Set a budget and show it."""
    _check(scope, subject)
    if max_cost_usd is None and max_tokens is None:
        raise InputError("a budget needs a limit", hint="give --max-cost or --max-tokens")
    with BlockingPlatformClient(required_place()) as client:
        found = client.send(
            calls.set_budget(scope, subject, max_cost_usd=max_cost_usd, max_tokens=max_tokens)
        )
    if as_json:
        streams.write_json(found.model_dump(mode="json"))
    else:
        _show([found])


def remove_budget(scope: str, subject: str, *, as_json: bool) -> None:
    """Remove a budget."""
    _check(scope, subject)
    with BlockingPlatformClient(required_place()) as client:
        gone = client.send(calls.remove_budget(scope, subject))
    if as_json:
        streams.write_json(gone.model_dump(mode="json"))
    else:
        streams.note(f"the budget of {f'{gone.scope} {gone.subject}'.strip()} is removed")


def _check(scope: str, subject: str) -> None:
    if (scope == "team") == bool(subject):
        raise InputError(
            "the team's budget takes no id" if subject else f"say which {scope} by its id"
        )


def _show(budgets: Sequence[Budget]) -> None:
    header = ("SCOPE", "ID", "SPENT", "OF", "TOKENS", "OF")
    rows = [
        (
            one.scope,
            one.subject or "-",
            f"${one.spent_cost_usd:,.4f}",
            "-" if one.max_cost_usd is None else f"${one.max_cost_usd:,.4g}",
            f"{one.spent_tokens:,}",
            "-" if one.max_tokens is None else f"{one.max_tokens:,}",
        )
        for one in budgets
    ]
    streams.write(table(header, rows, right=(2, 3, 4, 5), width=streams.stdout_width(), shrink=1))


def _sums(row: UsageSum) -> tuple[str, ...]:
    return (
        f"{row.calls:,}",
        f"{row.failed_calls:,}",
        f"{row.cached_calls:,}",
        f"{row.prompt_tokens:,}",
        f"{row.completion_tokens:,}",
        f"${row.cost_usd:,.4f}",
    )
