"""What every cloud's tests ask of a place that breaks, or of an SDK that is not there."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud._core.outcome import Outcome
from hud.agents.run import Run
from hud.environment.task import Task
from hud.eval import rollout
from hud.runtimes.base import Provider
from tests.rollouts import assert_ungraded, forever, recorded_in

ROW = Task(env="clouds", id="ask")


async def check_vanishing(
    provider: Provider,
    vanish: Callable[[], Awaitable[object]],
    says: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let the place vanish under an agent that waits: the rollout ends, ungraded, and says why."""

    async def outlasted(run: Run) -> None:
        await vanish()
        await forever()

    with recorded_in(folder, monkeypatch):
        run = await rollout(ROW, outlasted, runtime=provider)
        assert_ungraded(run, Outcome.RUNTIME, says)


async def check_missing_extra(
    provider: Provider, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the vendor's SDK one sentence says what is missing, and a hint how to get it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError) as refused:
        async with provider(ROW):
            pass
    assert refused.value.message == f"{type(provider).__name__} needs the package {module}"
    assert refused.value.hint == f"pip install 'hud-python[{module}]'"
