"""Tests of `discounted` that the agent never sees."""

from prices import discounted


def test_by_nothing_the_price_stays() -> None:
    assert discounted(999, 0) == 999


def test_by_everything_it_is_free() -> None:
    assert discounted(999, 100) == 0


def test_in_between_it_is_rounded_down() -> None:
    assert discounted(999, 50) == 500
