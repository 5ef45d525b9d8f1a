"""Ready rules: what a model double says without anyone writing a function."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from hud.testing.model_server.question import Question
from hud.testing.model_server.reply import ApiError, Reply
from hud.testing.model_server.server import Rule

Played = Reply | Callable[[Question], Reply | Awaitable[Reply]]


def script(*replies: Played) -> Rule:
    """Return a rule that plays replies by the number of the turn, in any number of conversations.

    A reply may be a rule itself, for what depends on the question. A turn beyond the last is
    status 400.
    """

    def play(question: Question) -> Reply | Awaitable[Reply]:
        if question.turn >= len(replies):
            return ApiError(400, f"the script has {len(replies)} turns, and none after them")
        played = replies[question.turn]
        return played(question) if callable(played) else played

    return play


def after_failures(rule: Rule, *failures: Reply) -> Rule:
    """Return a rule that answers the first requests with failures, and then as `rule` does."""
    left = list(failures)

    def answer(question: Question) -> Reply | Awaitable[Reply]:
        return left.pop(0) if left else rule(question)

    return answer


def letter_count(question: Question) -> str:
    """Answer "How many 'r's are in 'strawberry'?" as `count_letters` does."""
    return count_letters(question.prompt_text)


def count_letters(text: str) -> str:
    """Count a letter in a word; "I do not know" where nothing is to be counted.

    The letter and the word are what stands in quotes; without quotes, the first lone letter and
    the last word of two letters or more.
    """
    quoted = re.findall(r"['\"‘“`](\w+)['\"’”`]", text)
    letters = [word for word in quoted if len(word) == 1]
    words = [word for word in quoted if len(word) > 1]
    if not letters:
        letters = re.findall(r"\b([B-HJ-Zb-hj-z])(?:'?s)?\b", text)
    if not words:
        words = re.findall(r"\b(\w{2,})\b", text)
    if not letters or not words:
        return "I do not know"
    return str(words[-1].lower().count(letters[0].lower()))
