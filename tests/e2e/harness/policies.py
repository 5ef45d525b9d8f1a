"""Rules that do the tasks of the examples as a model would: by looking at what they are told.

They know no dialect. What they want done is spelled by `hands`, what is on a picture is seen by
`eyes`; none of them knows what the grader knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hud.testing.model_server import Call, Question, Say, letter_count
from tests.e2e.harness.eyes import fields, last_picture, size_of, white_area
from tests.e2e.harness.hands import Act, Click, Fill, Hands, Look, Press

Policy = Callable[[Question], Say]

_LOOKS_AT_MOST = 20
_FIELDS = ("name", "age", "course", "terms", "button")
# A slip by one, and a share of the wrong size: what is wrong in a line, and what is right.
_SLIPS = {" - 1": "", "// 10": "// 100"}


def count_letters(question: Question) -> Say:
    """Answer at once."""
    return Say(letter_count(question), reasoning="letter by letter")


def mend(question: Question) -> Say:
    """See the test fail and read the source, change what is wrong, and see the test pass."""
    hands = Hands(question)
    (function,) = _asked(question, r"`(\w+)`")
    test = hands.shell(f"python -m pytest -q -k {function}")
    said = "\n".join(result.text for result in question.last_results)
    match question.turn:
        case 0:
            return Say(
                "I look at it first.",
                [test, hands.shell("cat prices.py")],
                reasoning="the test fails, so see how",
            )
        case 1 if "1 failed" in said:
            old, new = _mended(said, function)
            return Say("", [hands.replace_line("prices.py", old, new)], reasoning="a slip")
        case 2 if not question.last_results[-1].is_error:
            return Say("", [test])
        case 3 if "1 passed" in said:
            return Say("The test passes.")
        case _:
            return Say(f"I cannot do it: {said}")


def sign_up(question: Question) -> Say:
    """Fill in the form on the picture, press its button on the next one, and see it go."""
    name, age, course = _asked(question, r"Sign up (.+), who is (\d+) years old, for (\w+)\.")
    picture = last_picture(question)
    shown = fields(picture) if picture is not None else []
    hands, size = Hands(question), size_of(picture)
    match _acts(question):
        case 0 if len(shown) == len(_FIELDS):
            at = dict(zip(_FIELDS, shown, strict=True))
            acts: list[Act] = [
                Fill(at["name"], name),
                Fill(at["age"], age),
                Fill(at["course"], course, enter=True),
                Click(at["terms"]),
            ]
            return Say("", hands.screen(size, *acts))
        case 1 if shown:
            return Say("", hands.screen(size, Click(shown[-1])))
        case 2 if picture is not None and not shown:
            return Say("Signed up.")
        case _:
            return _look(question)


def sign_up_by_element(question: Question) -> Say:
    """Fill in the form by what the page says of its elements."""
    name, age, course = _asked(question, r"Sign up (.+), who is (\d+) years old, for (\w+)\.")
    said = "\n".join(result.text for result in question.last_results)
    called = [call.name for turn in question.turns for call in turn.calls]
    if "Thank you" in said:
        return Say("Signed up.")
    if "Sign up" not in said or "[" not in said:
        reads = called.count("browser_read")
        return Say("", [Call("browser_read")]) if reads < _LOOKS_AT_MOST else Say("No form.")
    calls = [
        Call("browser_type", {"node": _node(said, "textbox", "Name"), "text": name}),
        Call("browser_type", {"node": _node(said, "spinbutton", "Age"), "text": age}),
        Call("browser_select", {"node": _node(said, "combobox", "Course"), "option": course}),
        Call("browser_click", {"node": _node(said, "checkbox", "I accept the terms")}),
        Call("browser_click", {"node": _node(said, "button", "Sign up")}),
        Call("browser_read"),
    ]
    return Say("", calls)


def take_note(question: Question) -> Say:
    """Type into the editor on the picture, save, and see what the file says."""
    hands = Hands(question)
    text = question.turns[0].text.partition("Ctrl+S: ")[2].strip()
    said = "\n".join(result.text for result in question.last_results)
    picture = last_picture(question)
    calls = [call for turn in question.turns for call in turn.calls]
    if question.turns[-1].results and calls[-1].name in ("bash", "shell"):
        return Say("Saved." if text in said else f"It says something else: {said}")
    if _acts(question):
        saved = "until test -s note.txt; do sleep 0.05; done; cat note.txt"
        return Say("", [hands.shell(f"timeout 20 sh -c '{saved}'")])
    at = white_area(picture) if picture is not None else None
    if at is None:
        return _look(question)
    return Say("", hands.screen(size_of(picture), Fill(at, text), Press("s")))


def spend(question: Question) -> Say:
    """Ask for the price, and order as many as the money buys."""
    budget, item = _asked(question, r"You have (\d+) cents.*: (\w+)\.")
    said = "\n".join(result.text for result in question.last_results)
    match question.turn:
        case 0:
            return Say("", [Call("look_up", {"item": item})], reasoning="what does it cost?")
        case 1:
            price, left = (_number(said, name) for name in ("price", "left"))
            count = min(int(budget) // price, left)
            return Say("", [Call("order", {"item": item, "count": count})])
        case _:
            return Say(said)


def _asked(question: Question, pattern: str) -> tuple[str, ...]:
    """Return what the prompt asks for."""
    prompt = question.turns[0].text
    found = re.search(pattern, prompt)
    assert found, prompt
    return found.groups()


def _mended(source: str, function: str) -> tuple[str, str]:
    """Return the line of a function that has a slip, as it is and as it should be."""
    body = source.partition(f"def {function}(")[2].partition("\ndef ")[0]
    for line in body.splitlines():
        for wrong, right in _SLIPS.items():
            if line.endswith(wrong):
                return line, line.removesuffix(wrong) + right
    raise AssertionError(source)


def _is_look(call: Call) -> bool:
    held: Any = call.arguments_object or {}
    actions: list[dict[str, Any]] = held.get("actions", [])
    return (
        call.name in ("open_web_browser", "hover_at")
        or held.get("action") == "screenshot"
        or [action.get("type") for action in actions] == ["screenshot"]
    )


def _acts(question: Question) -> int:
    """Return how many turns did something, rather than look."""
    turns = [turn for turn in question.turns if turn.calls]
    return sum(not all(_is_look(call) for call in turn.calls) for turn in turns)


def _look(question: Question) -> Say:
    if question.turn >= _LOOKS_AT_MOST:
        return Say("I do not see it.")
    return Say("", Hands(question).screen(size_of(last_picture(question)), Look()))


def _node(read: str, role: str, name: str) -> int:
    found = re.search(rf'- {role} "{name}".*\[(\d+)\]', read)
    assert found, read
    return int(found[1])


def _number(text: str, name: str) -> int:
    found = re.search(rf"{name}\D+(\d+)", text)
    assert found, text
    return int(found[1])
