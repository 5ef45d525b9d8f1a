"""What the shop's own people test."""

from prices import discounted, total


def test_total() -> None:
    assert total([100, 250], [2, 1]) == 450


def test_discounted() -> None:
    assert discounted(1000, 20) == 800
