"""A leaderboard read from a store: rows, places that can be told apart, and what is flagged."""

from __future__ import annotations

import json
import random
from collections.abc import Generator
from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud._core.outcome import Outcome
from hud.eval.contender import Contender, read_contenders
from hud.eval.leaderboard import Leaderboard, Standing, leaderboard, rank, reference_tasks
from hud.eval.results import read_results
from hud.store import JobRow, RunEnd, RunStart, Store, open_store
from tests.contenders import BEGAN, NAN, contender, record_job


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    store = open_store(tmp_path / "home")
    yield store
    store.close()


def named(board: Leaderboard) -> dict[str, Standing]:
    return {one.name: one for one in board.standings}


def binary(chance: float, seed: int, tasks: int = 40, group: int = 2) -> dict[str, list[float]]:
    rng = random.Random(seed)
    return {f"t{n}": [float(rng.random() < chance) for _ in range(group)] for n in range(tasks)}


def test_a_row_per_agent_and_model_with_the_statistics_of_all_its_jobs(store: Store) -> None:
    record_job(store, {"a": [1.0, 0.0], "b": [1.0, 1.0]}, created_at=BEGAN)
    record_job(store, {"a": [1.0], "b": [0.0]}, created_at=BEGAN + 10)
    record_job(store, {"a": [0.0], "b": [0.0]}, model="m2", cost_usd=None)
    record_job(store, {"z": [1.0]}, taskset="other")
    board = leaderboard(store, "set")
    rows = named(board)
    assert set(rows) == {"m1", "m2"}
    best = rows["m1"]
    assert (best.agent, best.model, len(best.job_ids)) == ("claude", "m1", 2)
    assert (best.summary.runs, best.summary.graded, best.summary.tasks) == (6, 6, 2)
    assert best.summary.mean == pytest.approx(4 / 6)
    assert [one.k for one in best.summary.pass_at_k] == [1, 2]
    assert best.summary.best_at_k[1].value == pytest.approx((1.0 + 1.0) / 2)
    assert (best.used.cost_usd, best.used.tokens, best.used.time_s) == (0.5, 100.0, 2.0)
    assert (rows["m2"].used.cost_usd, rows["m2"].used.unpriced_turns) == (None, 2)
    data = json.loads(json.dumps(board.as_data()))
    assert [row["name"] for row in data["standings"]] == ["m1", "m2"]
    assert data["standings"][1]["cost_per_run_usd"] is None


def test_jobs_apart_give_a_row_each_and_some_may_be_chosen(store: Store) -> None:
    first = record_job(store, {"a": [1.0]}, created_at=BEGAN)
    record_job(store, {"a": [1.0]}, created_at=BEGAN + 10)
    assert len(leaderboard(store, "set", by="job").standings) == 2
    alone = leaderboard(store, "set", by="job", jobs=[store.find_job(first)])
    assert [one.job_ids for one in alone.standings] == [(first,)]


def test_places_are_ranges_and_rows_that_cannot_be_told_apart_share_them() -> None:
    board = rank(
        "set",
        [
            contender("weak", binary(0.1, 1)),
            contender("good", binary(0.8, 2)),
            contender("also good", binary(0.8, 3)),
        ],
    )
    assert {one.name: one.places for one in board.standings} == {
        "good": (1, 2),
        "also good": (1, 2),
        "weak": (3, 3),
    }
    assert board.standings[2].name == "weak"
    alike = rank("set", [contender("x", binary(0.5, 5, 8)), contender("y", binary(0.5, 6, 8))])
    assert alike.warnings == ("no row can be told from another with 8 tasks",)


def test_what_is_ungraded_widens_the_places_it_could_change() -> None:
    strong = {f"t{n}": [1.0, NAN, NAN] for n in range(20)}
    weak = {f"t{n}": [0.5] for n in range(20)}
    board = rank("set", [contender("strong", strong), contender("weak", weak)])
    assert [one.places for one in board.standings] == [(1, 2), (1, 2)]
    row = named(board)["strong"]
    assert row.flags == ("40 of 60 ungraded (model 40)",)
    assert (row.summary.lower_bound, row.summary.upper_bound) == (pytest.approx(1 / 3), 1.0)
    assert board.warnings[0].startswith("unequal coverage: from 33.3 % to 100.0 % of the runs")


def test_few_tasks_establish_nothing_however_clear_they_look() -> None:
    five = rank("set", [contender("x", binary(1.0, 1, 5)), contender("y", binary(0.0, 1, 5))])
    assert [one.places for one in five.standings] == [(1, 2), (1, 2)]
    six = rank("set", [contender("x", binary(1.0, 1, 6)), contender("y", binary(0.0, 1, 6))])
    assert [one.places for one in six.standings] == [(1, 1), (2, 2)]


def test_a_trial_of_one_task_has_no_place_and_no_voice() -> None:
    trial = contender("trial", {"t0": [1.0]})
    other = contender("other trial", {"t0": [1.0], "odd": [1.0]})
    board = rank("set", [trial, other, contender("whole", binary(0.5, 1, 10))])
    assert len(board.tasks) == 10
    assert [one.name for one in board.standings] == ["whole", "other trial", "trial"]
    assert [one.places for one in board.standings] == [(1, 1), None, None]
    flags = named(board)["other trial"].flags
    assert flags == ("not ranked: lacks 9 tasks", "ran 1 task that most did not")
    assert board.warnings == ("2 rows ran other tasks, or other versions of them, than most",)


def test_runs_of_another_version_of_a_task_are_flagged_and_left_out() -> None:
    old = contender("old", {"a": [1.0], "b": [1.0]}, digest="v1")
    new = [contender(name, {"a": [0.0], "b": [0.0]}, digest="v2") for name in ("n1", "n2")]
    board = rank("set", [old, *new])
    assert board.tasks == {"a": "v2", "b": "v2"}
    row = named(board)["old"]
    assert (row.places, row.summary.mean, row.changed) == (None, None, ("a", "b"))
    assert row.flags == ("not ranked: lacks 2 tasks", "ran 2 tasks in another version")
    nevertheless = named(rank("set", [old, *new], include_changed=True))["old"]
    assert (nevertheless.summary.mean, nevertheless.changed) == (1.0, ("a", "b"))


def test_of_versions_run_equally_often_the_one_run_last_counts(store: Store) -> None:
    record_job(store, {"a": [1.0]}, digests={"a": "old"}, created_at=BEGAN)
    record_job(store, {"a": [1.0]}, digests={"a": "new"}, model="m2", created_at=BEGAN + 10**6)
    assert leaderboard(store, "set").tasks == {"a": "new"}
    assert reference_tasks([]) == {}
    unknown = contender("foreign", {"a": [1.0]}, digest=None)
    assert reference_tasks([unknown]) == {"a": None}


def test_rows_without_any_grade_are_not_ranked() -> None:
    board = rank("set", [contender("x", {"a": [NAN]}), contender("y", {"a": [1.0]})])
    assert [one.places for one in board.standings] == [(1, 1), None]
    flags = board.standings[1].flags
    assert flags == ("not ranked: nothing is graded", "1 of 1 ungraded (model 1)")


def test_only_the_latest_attempt_counts_and_what_was_never_run_is_ungraded(store: Store) -> None:
    spec = {
        "source": "tasks.py",
        "files": {},
        "tasks": {"a": "v1", "b": "v1"},
        "agent": "claude",
        "group": 2,
    }
    job_id = record_job(
        store, {"a": [Outcome.MODEL, 1.0]}, spec=spec, status="interrupted", cost_usd=1.0
    )
    again = "f" * 32
    store.put(RunStart(id=again, job_id=job_id, task_slug="a", started_at=BEGAN, attempt=2))
    store.put(
        RunEnd(
            id=again,
            job_id=job_id,
            status="completed",
            outcome=Outcome.GRADED,
            reward=0.5,
            ended_at=BEGAN + 1,
            turns=1,
            cost_usd=1.0,
            known_cost_usd=1.0,
        )
    )
    store.flush()
    [row] = leaderboard(store, "set").standings
    assert (row.summary.runs, row.summary.graded, row.summary.mean) == (4, 2, 0.75)
    assert row.summary.ungraded_by_cause == {"not run": 2}
    assert row.used.cost_usd == 1.5, "three attempts were paid for two members"


def test_runs_marked_invalid_are_left_out_and_counted_by_their_reason(store: Store) -> None:
    job_id = record_job(store, {"a": [1.0, 0.0, 0.0], "b": [0.0]}, cost_usd=1.0)
    for run in store.runs_of(job_id):
        if run.reward == 0.0:
            store.mark_invalid(run.id, "wrong image", actor="somebody")
    [row] = leaderboard(store, "set").standings
    assert (row.summary.runs, row.summary.mean, row.summary.tasks) == (1, 1.0, 1)
    assert row.invalid == {"wrong image": 3}
    assert row.flags == ("3 invalid left out (wrong image: 3)",)
    assert row.used.cost_usd == 1.0
    results = read_results(store, job_id, owed={"a": 3, "b": 1})
    assert (results.summary.runs, results.summary.mean) == (1, 1.0)
    assert (results.invalid, len(results.members), results.attempts) == ({"wrong image": 3}, 1, 4)


def test_a_job_that_still_runs_is_flagged(store: Store) -> None:
    job_id = record_job(store, {"a": [1.0]}, status=None)
    with store.lock_job(job_id):
        [row] = leaderboard(store, "set").standings
    assert row.flags == ("still running",)
    [ended] = leaderboard(store, "set").standings
    assert ended.flags == ()


def test_runs_of_several_models_in_one_job_are_several_rows(store: Store) -> None:
    job_id = record_job(store, {"a": [1.0]}, model=None)
    for number, model in enumerate(("m1", "m2"), start=1):
        run_id = f"{number:032x}"
        start = RunStart(
            id=run_id, job_id=job_id, task_slug="a", started_at=BEGAN, member=number, model=model
        )
        store.put(start)
        end = RunEnd(
            id=run_id,
            job_id=job_id,
            status="completed",
            outcome=Outcome.GRADED,
            reward=0.0,
            ended_at=BEGAN,
        )
        store.put(end)
    store.flush()
    rows = leaderboard(store, "set").standings
    assert sorted(str(one.model) for one in rows) == ["None", "m1", "m2"]
    jobs = [store.find_job(job_id)]
    assert [one.model for one in read_contenders(store, jobs, by="job")] == ["m1, m2"]
    assert len(read_contenders(store, jobs, by="agent")) == 1


def test_another_teams_jobs_are_not_there(store: Store) -> None:
    record_job(store, {"a": [1.0]}, team="theirs")
    with pytest.raises(InputError, match="no job of a taskset 'set' is recorded"):
        leaderboard(store, "set")
    assert len(leaderboard(store, "set", team="theirs").standings) == 1


def test_a_taskset_nobody_ran_is_an_error_that_names_those_there_are(store: Store) -> None:
    store.put(JobRow(id="a" * 32, created_at=BEGAN, taskset="letters"))
    store.flush()
    with pytest.raises(InputError, match="no job of a taskset 'letter'") as caught:
        leaderboard(store, "letter")
    assert caught.value.hint == "there are jobs of: letters"
    assert leaderboard(store, "letters").standings[0].places is None


def test_the_places_hold_together_in_simulated_leaderboards_without_a_difference() -> None:
    rng = random.Random(9)
    times, wrong = 200, 0
    for _ in range(times):
        rows: list[Contender] = [
            contender(f"r{row}", binary(0.5, rng.randrange(10**9), 20, 1)) for row in range(4)
        ]
        board = rank("set", rows)
        wrong += any(one.places != (1, 4) for one in board.standings)
    assert wrong / times <= 0.05 + 4 * (0.05 * 0.95 / times) ** 0.5
