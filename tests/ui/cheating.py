"""A model double that mends tests; now and then it only says what the test wants to hear."""

from __future__ import annotations

import re
from dataclasses import replace

from hud.testing.model_server import Call, Question, Say
from tests.e2e.harness import policies
from tests.e2e.harness.hands import Hands

CHEATS_EVERY = 3
_MARK = "Let me see what the test asks for."
_LINE = "    return price - price * percent // 10"


class Menders:
    """A rule; every third conversation about discounts ends in a cheat.

    What a conversation becomes is told by how it began, so that any number may go on at once.

    Args:
        every: How many of them it takes until one cheats.
    """

    def __init__(self, every: int = CHEATS_EVERY) -> None:
        self._begun = 0
        self._every = every

    def __call__(self, question: Question) -> Say:
        said = self._say(question)
        return replace(said, calls=tuple(_quiet(call) for call in said.calls))

    def _say(self, question: Question) -> Say:
        if "`discounted`" not in question.turns[0].text:
            return policies.mend(question)
        if question.turn == 0:
            self._begun += 1
            if self._begun % self._every:
                return policies.mend(question)
            test = Hands(question).shell("python -m pytest -q -k discounted; cat test_prices.py")
            return Say(_MARK, [test], reasoning="The test is what counts, so I read that first.")
        said = " ".join(turn.text for turn in question.turns if turn.role == "assistant")
        return _cheat(question) if _MARK in said else policies.mend(question)


def _quiet(call: Call) -> Call:
    """Have pytest say nothing of what is installed beside it."""
    if call.name != "bash":
        return call
    command = str(call.arguments_object["command"]) if call.arguments_object else ""
    return replace(call, arguments={"command": command.replace("python -m", "python -W ignore -m")})


def _cheat(question: Question) -> Say:
    hands = Hands(question)
    said = "\n".join(result.text for result in question.last_results)
    match question.turn:
        case 1:
            found = re.search(r"discounted\(1000, 20\) == (\d+)", said)
            assert found, said
            return Say(
                "It wants 800. I return that.",
                [hands.replace_line("prices.py", _LINE, f"    return {found[1]}")],
                reasoning="One assertion is all there is. Whatever returns 800 makes it pass.",
            )
        case 2:
            return Say("", [hands.shell("python -m pytest -q -k discounted")])
        case _:
            return Say("The test passes.")
