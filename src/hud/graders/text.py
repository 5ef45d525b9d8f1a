"""Score an answer's text against what was expected: substrings, equality, tokens, numbers.

Every function takes the answer as templates receive it (text, None, an object with `content`, or
anything `str()` can show) and returns 0.0 or 1.0, except `f1_score`, which returns what lies
between too.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s]")

_NUMBER = r"""
    (?P<sign> (?<![\w)\]]) [-+−] )? [$€£¥]?
    (?P<inner_sign> (?<=[$€£¥]) [-+−] )?
    (?P<digits> (?: \d{1,3} (?:,\d{3})+ (?!\d) | \d+ ) (?: \.\d+ )? | \.\d+ )
    (?: [eE] (?P<exponent> [-+−]?\d+ )
      | \s? (?: [x×*·] | \\times | \\cdot ) \s? 10 \s? (?:\^|\*\*) \s? \{? (?P<power> [-+−]?\d+ )
    )?
"""
_DECORATION = r"""[\s*_`$("'~≈\\\[{]{0,10}?"""
_FEW_WORDS = r"(?: [^\W\d]{1,20} \s{1,3} ){0,3}?"
# Strongest evidence first: the last number that a tier finds is the one the answer states.
_STATED = tuple(
    re.compile(pattern + _NUMBER, re.VERBOSE | re.IGNORECASE)
    for pattern in (
        r"(?: \\boxed \s? \{ | \#{4} ) [\s$]{0,5}",
        rf"""\banswer\b [^\n]{{0,80}}? (?: \b(?:is|was|equals|are)\b | [:=] )
             {_DECORATION} {_FEW_WORDS} {_DECORATION}""",
        rf"[\d)%] \s? [=≈] {_DECORATION}",
    )
)
_FIRST = re.compile(_NUMBER, re.VERBOSE)
_LONGEST_NUMBER = 400


def as_text(answer: object) -> str:
    """Return the text of an answer: itself, its `content`, "" for None, else its `str()`."""
    if hasattr(answer, "content") and not isinstance(answer, str):
        answer = getattr(answer, "content")  # noqa: B009 (the answer is any object)
    return "" if answer is None else str(answer)


def normalize(text: str | Any) -> str:
    """Return the text casefolded, without punctuation and English articles, single-spaced.

    Punctuation becomes a space, so "1,234.5" turns into "1 234 5": compare numbers with
    `numeric_match`. Composed and decomposed letters are the same.
    """
    folded = unicodedata.normalize("NFC", as_text(text)).casefold()
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub(" ", folded)).split())


def contains(answer: str | Any, substring: str, *, case_sensitive: bool = False) -> float:
    """Return 1.0 when the answer contains `substring`, else 0.0."""
    return contains_all(answer, [substring], case_sensitive=case_sensitive)


def contains_all(
    answer: str | Any, substrings: Iterable[str], *, case_sensitive: bool = False
) -> float:
    """Return 1.0 when the answer contains every one of `substrings` (none at all: 1.0)."""
    return float(all(_found(answer, substrings, case_sensitive)))


def contains_any(
    answer: str | Any, substrings: Iterable[str], *, case_sensitive: bool = False
) -> float:
    """Return 1.0 when the answer contains at least one of `substrings` (none at all: 0.0)."""
    return float(any(_found(answer, substrings, case_sensitive)))


def exact_match(answer: str | Any, expected: str, *, normalize_text: bool = True) -> float:
    """Return 1.0 when answer and expectation are equal, by default after `normalize`.

    With `normalize_text=False` only the white space around both is ignored.
    """
    if normalize_text:
        return float(normalize(answer) == normalize(expected))
    return float(as_text(answer).strip() == as_text(expected).strip())


def f1_score(answer: str | Any, reference: str) -> float:
    """Return the F1 of the two texts' normalised tokens, counted with repetition, in [0, 1].

    A side without any token (an article alone counts as none) gives 0.0.
    """
    answered, wanted = (Counter(normalize(side).split()) for side in (answer, reference))
    shared = (answered & wanted).total()
    if not shared:
        return 0.0
    return 2 * shared / (answered.total() + wanted.total())


def numeric_match(answer: str | Any, expected: float, *, tolerance: float = 0.0) -> float:
    r"""Return 1.0 when the number the answer states is within `tolerance` of `expected`.

    The tolerance is absolute. The number an answer states is, by the first rule that finds one:

    1. the last number in `\boxed{…}` or after `####`;
    2. the last number after "answer is", "answer:" or the like;
    3. the last right-hand side of an arithmetic equation ("6 * 7 = 42");
    4. the first number of the text.

    Thousands commas, currency signs, exponents ("-3e5", "3 × 10^5") and the Unicode minus are
    understood; a hyphen right after a letter or digit is no sign. Units, percent signs and
    fractions are not interpreted: "50%" states 50. Rounding of binary floats never decides: a
    few units in the last place always count as equal.

    Raises:
        ValueError: when `expected` or `tolerance` is not finite, or `tolerance` is negative.
    """
    if not math.isfinite(expected):
        raise ValueError(f"numeric_match: expected must be finite, not {expected!r}")
    if not math.isfinite(tolerance) or tolerance < 0:
        raise ValueError(f"numeric_match: tolerance must be finite and >= 0, not {tolerance!r}")
    stated = _stated_number(as_text(answer))
    if stated is None or not math.isfinite(stated):
        return 0.0
    rounding = 4 * sys.float_info.epsilon * max(abs(stated), abs(expected))
    return float(abs(stated - expected) <= tolerance + rounding)


def _found(answer: object, substrings: Iterable[str], case_sensitive: bool) -> Iterable[bool]:
    if isinstance(substrings, str):
        raise TypeError(f"substrings must be a list of strings, not the string {substrings!r}")
    text = as_text(answer)
    if case_sensitive:
        return (part in text for part in substrings)
    text = text.casefold()
    return (part.casefold() in text for part in substrings)


def _stated_number(text: str) -> float | None:
    for pattern in _STATED:
        for last in deque(pattern.finditer(text), maxlen=1):
            return _value(last)
    first = _FIRST.search(text)
    return None if first is None else _value(first)


def _value(match: re.Match[str]) -> float | None:
    digits = match["digits"].replace(",", "")
    sign = "-" if (match["sign"] or match["inner_sign"] or "+") in "-−" else ""
    exponent = (match["exponent"] or match["power"] or "0").replace("−", "-")
    literal = f"{sign}{digits}e{exponent}"
    return None if len(literal) > _LONGEST_NUMBER else float(literal)
