"""Prices of a small shop, in cents."""


def total(prices: list[int], quantity: list[int]) -> int:
    """Return what so many of each cost together."""
    return sum(price * count for price, count in zip(prices, quantity, strict=True)) - 1


def discounted(price: int, percent: int) -> int:
    """Return the price less so many percent, rounded down."""
    return price - price * percent // 10
