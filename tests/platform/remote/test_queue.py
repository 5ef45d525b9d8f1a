"""The queue by itself: fair between teams, bounded for each, one worker at a time."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.platform.database import Database
from hud.platform.rollouts.attempts import Broken, try_again
from hud.platform.rollouts.order import AgentAsk, RolloutAsk
from hud.platform.rollouts.queue import Asked, Queue
from hud.store.schema import metadata
from tests.platform.server import prepare

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

ASK = RolloutAsk(env="qa", task="ask", agent=AgentAsk(type="noop"))
BROKEN = Broken(Outcome.RUNTIME, "it broke")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Database]:
    with contextlib.ExitStack() as stack:
        url = None
        if request.param == "postgres":
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            url = stack.enter_context(postgres.database())
        prepare(tmp_path / "home", url)
        yield stack.enter_context(contextlib.closing(Database(tmp_path / "home", url)))


def _asked(team: str, count: int = 1) -> list[Asked]:
    return [Asked(team, new_id(), new_id(), new_id(), None, ASK) for _ in range(count)]


def test_the_next_place_goes_to_the_team_that_has_the_fewest(database: Database) -> None:
    queue = Queue(database)
    queue.add(_asked("large", 50))
    queue.add(_asked("small", 2))
    queue.add(_asked("other", 2))
    first = queue.claim(6, per_team=100)
    assert Counter(order.team for order in first) == {"large": 2, "small": 2, "other": 2}
    assert {order.team for order in queue.claim(6, per_team=100)} == {"large"}


def test_a_team_has_no_more_running_than_it_may(database: Database) -> None:
    queue = Queue(database)
    queue.add(_asked("large", 10))
    assert len(queue.claim(8, per_team=3)) == 3
    assert queue.claim(8, per_team=3) == []
    assert queue.count("large") == (7, 3)


def test_a_team_is_served_in_the_order_of_asking(database: Database) -> None:
    queue = Queue(database)
    asked = _asked("one", 5)
    queue.add(asked)
    taken = [order.run_id for order in queue.claim(5, per_team=10)]
    assert taken == [one.run_id for one in asked]


def test_one_id_is_queued_once_also_in_one_breath(database: Database) -> None:
    queue = Queue(database)
    [one] = _asked("one")
    assert queue.add([one, one]) == [True, False]
    assert queue.add([one]) == [False]
    assert len(queue.claim(5, per_team=10)) == 1


def test_a_worker_that_lost_its_lease_can_neither_finish_nor_repeat(database: Database) -> None:
    queue = Queue(database)
    queue.add(_asked("one"))
    [slow] = queue.claim(1, per_team=10)
    _expire(database)
    [found] = queue.expired()
    assert found.lease == slow.lease
    assert try_again(database, found, BROKEN, delay_s=0)
    [quick] = queue.claim(1, per_team=10)
    assert (quick.run_id, quick.attempt) == (slow.run_id, 2)
    assert queue.extend([slow.lease, quick.lease]) == {quick.lease}
    assert not try_again(database, slow, BROKEN, delay_s=0)
    queue.finish([slow.lease])
    assert queue.count("one") == (0, 1)
    queue.finish([quick.lease])
    assert queue.count("one") == (0, 0)


def test_what_waits_is_cancelled_at_once_and_what_runs_is_told(database: Database) -> None:
    queue = Queue(database)
    asked = _asked("one", 2)
    queue.add(asked)
    [order] = queue.claim(1, per_team=10)
    found = queue.cancel("one", reason="enough", job_id=order.job_id)
    assert (found.waiting, found.running) == ([], [order.run_id])
    assert queue.cancelled([order.lease]) == {order.lease: "enough"}
    [left] = [one for one in asked if one.run_id != order.run_id]
    found = queue.cancel("one", reason="enough", runs=[left.run_id])
    assert (found.waiting, found.running) == ([left.run_id], [])
    assert queue.claim(1, per_team=10) == []
    assert queue.cancel("another team", reason="enough", job_id=order.job_id).total == 0


def _expire(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(update(metadata.tables["rollout_queue"]).values(leased_until=1))
