"""Five small jobs with real graders, each with a reference solution; nothing here needs a key.

hud eval examples/quickstart/tasks.py oracle --all     plays the solutions: 1.0
hud eval examples/quickstart/tasks.py noop --all       does nothing: 0.0
"""

import ast
import json
from collections.abc import AsyncGenerator
from datetime import date
from typing import Any

from hud import Environment, Run, Task
from hud.graders import EvaluationResult, SubScore, combine, numeric_match

env = Environment(name="quickstart")
Graded = AsyncGenerator[str | float | EvaluationResult, str | None]


# Letters: where tokenisers trip models up.


async def count(run: Run, word: str, letter: str) -> str:
    """Count the letter."""
    return str(word.count(letter))


@env.template(solution=count)
async def count_letter(word: str, letter: str) -> Graded:
    """Count how often a letter occurs in a word."""
    answer = yield f"How many times does {letter!r} occur in {word!r}? Reply with the number."
    yield numeric_match(answer, word.count(letter))


# Sums: an amount may be embedded in a sentence, so the number is searched for.


async def add_up(run: Run, items: list[tuple[str, int, float]], discount_percent: int) -> str:
    """Add the items up."""
    total = sum(quantity * price for _, quantity, price in items)
    return f"The answer is {total * (1 - discount_percent / 100):.2f}."


@env.template(solution=add_up)
async def invoice_total(items: list[tuple[str, int, float]], discount_percent: int = 0) -> Graded:
    """Work out what an invoice comes to."""
    lines = "\n".join(f"{quantity} x {name} at {price:.2f}" for name, quantity, price in items)
    answer = yield f"{lines}\nDiscount: {discount_percent} %\n\nWhat is to be paid?"
    total = sum(quantity * price for _, quantity, price in items)
    yield numeric_match(answer, total * (1 - discount_percent / 100), tolerance=0.005)


# Dates: the agent sees one of several spellings and answers in ISO 8601.


async def read_date(run: Run, year: int, month: int, day: int, style: str) -> str:
    """Read no argument but the prompt, as an agent would."""
    written = run.prompt_text.splitlines()[-1]
    for number in range(1, 367):
        guess = date.fromordinal(date(year, 1, 1).toordinal() + number - 1)
        if guess.strftime(style) == written:
            return guess.isoformat()
    return "unreadable"


@env.template(solution=read_date)
async def iso_date(year: int, month: int, day: int, style: str) -> Graded:
    """Write a date as YYYY-MM-DD."""
    wanted = date(year, month, day)
    answer = yield f"Write this date as YYYY-MM-DD:\n{wanted.strftime(style)}"
    try:
        yield float(date.fromisoformat((answer or "").strip()) == wanted)
    except ValueError:
        yield 0.0


# JSON: two things are looked at, so there is partial credit and the trace shows both.


async def dump(run: Run, literal: str) -> str:
    """Read the Python literal and write it as JSON."""
    return json.dumps(ast.literal_eval(literal))


def parsed(answer: str | None) -> tuple[bool, Any]:
    """Return whether an answer is JSON, and its value."""
    try:
        return True, json.loads(answer or "")
    except ValueError:
        return False, None


@env.template(solution=dump)
async def to_json(literal: str) -> Graded:
    """Turn a Python literal into JSON."""
    answer = yield f"Rewrite this Python literal as JSON. Reply with the JSON alone.\n{literal}"
    is_json, value = parsed(answer)
    wanted = json.loads(json.dumps(ast.literal_eval(literal)))  # JSON has lists, no tuples
    same = is_json and value == wanted
    yield await combine(
        SubScore(name="is JSON", value=float(is_json), weight=0.25),
        SubScore(name="same value", value=float(same), weight=0.75),
    )


# Order: each neighbour in the right order counts.


async def sort_up(run: Run, versions: list[str]) -> str:
    """Sort by number, not by letter."""
    return "\n".join(sorted(versions, key=_numbers))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


@env.template(solution=sort_up)
async def sort_versions(versions: list[str]) -> Graded:
    """Sort version numbers, oldest first."""
    answer = yield "Sort these versions, oldest first, one per line:\n" + "\n".join(versions)
    lines = [line.strip() for line in (answer or "").splitlines() if line.strip()]
    wanted = sorted(versions, key=_numbers)
    right = sum(line == want for line, want in zip(lines, wanted, strict=False))
    yield right / len(wanted) if len(lines) == len(wanted) else 0.0


def named(slug: str, task: Task) -> Task:
    """Give a task a name of its own; without one it is the template's, and a hash."""
    task.slug = slug
    return task


tasks = [
    named("letters-strawberry", count_letter(word="strawberry", letter="r")),
    named("letters-mississippi", count_letter(word="mississippi", letter="s")),
    named("letters-onomatopoeia", count_letter(word="onomatopoeia", letter="o")),
    named("invoice-one", invoice_total(items=[("stapler", 3, 7.25)])),
    named(
        "invoice-many",
        invoice_total(items=[("desk", 2, 189.9), ("lamp", 5, 24.99), ("cable", 12, 3.49)]),
    ),
    named(
        "invoice-discount",
        invoice_total(items=[("chair", 4, 129.0), ("mat", 4, 18.5)], discount_percent=15),
    ),
    named("date-long", iso_date(year=2024, month=2, day=29, style="%A, %d %B %Y")),
    named("date-us", iso_date(year=2026, month=11, day=8, style="%m/%d/%Y")),
    named("date-day-of-year", iso_date(year=2023, month=9, day=1, style="day %j of %Y")),
    named("json-flat", to_json(literal="{'name': 'Ada', 'active': True, 'boss': None}")),
    named("json-nested", to_json(literal="{'ids': (1, 2, 3,), 'say': \"it's\", 'x': {'y': []}}")),
    named("versions-short", sort_versions(versions=["1.10.0", "1.9.2", "1.9.11"])),
    named(
        "versions-long",
        sort_versions(versions=["2.0.1", "10.0.0", "2.0.0", "1.99.99", "2.0.10", "2.0.9"]),
    ),
]
