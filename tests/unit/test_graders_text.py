"""The text checks, as a template calls them on an answer."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from hud.graders import (
    contains,
    contains_all,
    contains_any,
    exact_match,
    f1_score,
    normalize,
    numeric_match,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The, Quick  Brown-fox! a an the", "quick brown fox"),
        ("1,234.5", "1 234 5"),
        ("CAFÉ", "café"),
        ("cafe\u0301", "café"),
        ("  \n", ""),
        (None, ""),
        (5, "5"),
    ],
)
def test_normalize_drops_case_punctuation_articles_and_extra_space(
    text: object, expected: str
) -> None:
    assert normalize(text) == expected


def test_an_answer_may_be_an_object_with_content_or_nothing_at_all() -> None:
    parsed = SimpleNamespace(content=42)
    assert contains(parsed, "42") == 1.0
    assert exact_match(parsed, "42") == 1.0
    assert numeric_match(parsed, 42) == 1.0
    assert f1_score(parsed, "42") == 1.0
    assert contains(None, "none") == 0.0
    assert exact_match(None, "") == 1.0
    assert numeric_match(None, 0) == 0.0
    assert contains(SimpleNamespace(content=None), "none") == 0.0


def test_contains_ignores_case_unless_told() -> None:
    assert contains("Say HELLO", "hello") == 1.0
    assert contains("Say HELLO", "hello", case_sensitive=True) == 0.0
    assert contains("Say HELLO", "HELLO", case_sensitive=True) == 1.0


def test_contains_all_needs_every_part_and_contains_any_one() -> None:
    assert contains_all("red and blue", ["red", "BLUE"]) == 1.0
    assert contains_all("red and blue", ["red", "green"]) == 0.0
    assert contains_any("red and blue", ["green", "Blue"]) == 1.0
    assert contains_any("red and blue", ["green"]) == 0.0
    assert (contains_all("x", []), contains_any("x", [])) == (1.0, 0.0)


def test_a_single_string_in_place_of_a_list_is_refused_instead_of_read_letter_by_letter() -> None:
    with pytest.raises(TypeError, match="list of strings"):
        contains_any("abc", "cat")


def test_exact_match_compares_normalised_text_or_only_trimmed_text() -> None:
    assert exact_match("The cat.", "cat") == 1.0
    assert exact_match("The cat.", "cat", normalize_text=False) == 0.0
    assert exact_match(" cat\n", "cat", normalize_text=False) == 1.0


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("a b c", "b c", 1.0),  # "a" is an article
        ("x y", "y z", 0.5),
        ("x x y", "x y y", 2 / 3),  # repeated tokens match as often as both sides have them
        ("x x x x", "x", 0.4),
        ("nothing shared", "at all", 0.0),
        ("the", "the", 0.0),
        ("", "", 0.0),
    ],
)
def test_f1_counts_tokens_with_repetition(answer: str, reference: str, expected: float) -> None:
    assert f1_score(answer, reference) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("answer", "stated"),
    [
        ("The answer is 1,234.5", 1234.5),
        ("-3e5", -3e5),
        ("3 × 10^5 m/s", 3e5),
        (r"\(3.2 \times 10^{-4}\)", 3.2e-4),
        ("costs $5.", 5),
        ("-$5", -5),
        ("x = −5", -5),
        ("50%", 50),
        (".5", 0.5),
        ("+7", 7),
        ("GPT-4", 4),
        ("12,345,678 people", 12_345_678),
    ],
)
def test_one_number_is_read_in_the_ways_people_write_it(answer: str, stated: float) -> None:
    assert numeric_match(answer, stated) == 1.0
    assert numeric_match(answer, stated + 1) == 0.0


@pytest.mark.parametrize(
    ("answer", "stated"),
    [
        (r"First 3, then \boxed{17}, checked 2 times", 17),
        ("Step 1: 20. Step 2: 22.\n#### 42", 42),
        ("12 and 30 were given. The final answer is **-42**.", -42),
        ("**Answer:** the value is 42 since 6*7", 42),
        ("The answer to question 3 is about 12.5 m", 12.5),
        ("Answer: 1. No wait. Answer: 2", 2),
        ("12 + 30 = 42 apples", 42),
        ("The answer is 42, because 40 + 3 = 43 is too much", 42),
        ("5 (since x=2)", 5),
        ("3 r's in 1 word", 3),
        ("3-5", 3),
    ],
)
def test_among_several_numbers_a_marked_one_counts_and_else_the_first(
    answer: str, stated: float
) -> None:
    assert numeric_match(answer, stated) == 1.0
    assert numeric_match(answer, stated + 1) == 0.0


def test_the_tolerance_is_absolute_and_inclusive() -> None:
    assert numeric_match("10.3", 10.2, tolerance=0.1) == 1.0  # 10.3 - 10.2 > 0.1 in binary
    assert numeric_match("10.31", 10.2, tolerance=0.1) == 0.0
    assert numeric_match("0.3", 0.1 + 0.2) == 1.0
    assert numeric_match("1000000000001", 1_000_000_000_000) == 0.0


@pytest.mark.parametrize("answer", ["no number", "", "1e999", "9" * 5000, "-", "NaN", "inf"])
def test_an_answer_without_a_finite_number_matches_nothing(answer: str) -> None:
    assert numeric_match(answer, 0) == 0.0


@pytest.mark.parametrize(
    ("expected", "tolerance"), [(math.nan, 0.0), (math.inf, 0.0), (1.0, -0.1), (1.0, math.nan)]
)
def test_a_comparison_that_can_never_hold_is_an_error_not_a_zero(
    expected: float, tolerance: float
) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        numeric_match("1", expected, tolerance=tolerance)
