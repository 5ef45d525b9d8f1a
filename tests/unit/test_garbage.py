"""Fewer garbage collections while rollouts are in flight."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from hud._core.garbage import fewer_collections, without_collections


@pytest.fixture(autouse=True)
def _thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_thresholds_are_raised_and_restored_once_by_overlapping_blocks() -> None:
    before = gc.get_threshold()
    with fewer_collections():
        raised = gc.get_threshold()
        assert raised[0] > before[0]
        with fewer_collections():
            assert gc.get_threshold() == raised
        assert gc.get_threshold() == raised
    assert gc.get_threshold() == before


@pytest.mark.parametrize("chosen", [(0, 10, 10), (900_000, 10, 10)])
def test_a_collector_the_user_tuned_is_left_alone(chosen: tuple[int, int, int]) -> None:
    gc.set_threshold(*chosen)
    with fewer_collections():
        assert gc.get_threshold() == chosen
    assert gc.get_threshold() == chosen


def test_a_block_that_raises_restores_them() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), fewer_collections():
        raise KeyError
    assert gc.get_threshold() == before


@pytest.mark.parametrize("is_on", [True, False])
def test_a_block_without_collections_leaves_the_collector_as_it_was(is_on: bool) -> None:
    was_on = gc.isenabled()
    try:
        (gc.enable if is_on else gc.disable)()
        with without_collections():
            assert not gc.isenabled()
        assert gc.isenabled() == is_on
    finally:
        (gc.enable if was_on else gc.disable)()
