"""Tests of `total` that the agent never sees."""

from prices import total


def test_of_nothing_it_is_nothing() -> None:
    assert total([], []) == 0


def test_of_many_it_is_their_sum() -> None:
    assert total([1, 10, 100], [3, 2, 1]) == 123
