"""`hud compare` and `hud leaderboard`, as typed: on jobs that are recorded, and on nonsense."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from hud._core.outcome import Outcome
from hud.store import Store, open_store
from tests.contenders import BEGAN, record_job
from tests.e2e.hud_command import Shell


@pytest.fixture
def hud(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def store(hud: Shell) -> Generator[Store]:
    store = open_store(hud.home)
    yield store
    store.close()


def rewards(good: int, tasks: int = 12) -> dict[str, list[float | Outcome]]:
    return {f"t{n}": [1.0 if n < good else 0.0] for n in range(tasks)}


def test_two_jobs_are_compared_in_a_sentence_and_a_table(hud: Shell, store: Store) -> None:
    first = record_job(store, rewards(11), model="big")
    second = record_job(store, rewards(3), model="small\x1b[31m", cost_usd=None)
    shown = hud("compare", first[:8], second[:8])
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    verdict = "big is better than small\\x1b[31m by 0.667 [0.354, 0.980], p = 0.008"
    assert lines[0] == verdict, "and a name's escapes are spelled out"
    assert "sign-flip over tasks, exact: p = 0.008" in shown.out
    table = [line.split() for line in lines]
    assert ["t3", "1.000", "0.000", "+1.000"] in table
    assert ["big", first[:8], "0.917", "12/12", "$0.5000", "100", "2.0", "s"] in table
    assert "n/a" in next(line for line in lines if second[:8] in line), "no price is no $0"
    few = hud("compare", first, second, "--limit", "2")
    assert "… 10 more tasks; --limit 0 shows all" in few.err


def test_the_json_has_everything_unrounded(hud: Shell, store: Store) -> None:
    first = record_job(store, {**rewards(11), "t11": [Outcome.MODEL]}, model="big")
    second = record_job(store, rewards(3), model="small")
    [found] = hud("compare", first, second, "--json").data["comparisons"]
    assert found["better"] == "big"
    assert found["first"]["ungraded"] == {"model": 1}
    assert found["test"] == {
        "name": "sign-flip",
        "p_value": 0.0078125,
        "is_exact": True,
        "flips": None,
        "smallest_p": 0.0078125,
    }
    assert [one["state"] for one in found["tasks"]].count("compared") == 11
    assert any("unequal coverage" in warning for warning in found["warnings"])


def test_models_on_a_taskset_are_compared_pairwise_and_trials_left_out(
    hud: Shell, store: Store
) -> None:
    for model, good in (("m1", 12), ("m2", 6), ("m3", 1)):
        record_job(store, rewards(good), model=model)
    record_job(store, {"t0": [1.0]}, model="trial")
    shown = hud("compare", "--taskset", "set", "--by", "model")
    assert shown.code == 0, shown.err
    assert "m1 is better than m3 by 0.917 [0.733, 1.100], p = 0.003" in shown.out
    assert shown.out.count("(adjusted for 3 comparisons)") == 3
    assert "trial ran few of the tasks and is left out" in shown.err
    named = hud("compare", "--taskset", "set", "m2", "claude m3", "--json").data["comparisons"]
    assert [(one["first"]["name"], one["second"]["name"]) for one in named] == [("m2", "m3")]
    changed = record_job(store, rewards(12), model="m4", digests={"t0": "v2"})
    left_out = hud("compare", "--taskset", "set", "m1", changed[:8])
    assert "warning: 1 task changed between the sides: left out" in left_out.out
    counted = hud("compare", "--taskset", "set", "m1", "m4", "--include-changed", "--json").data
    assert counted["comparisons"][0]["tasks_compared"] == 12


def test_a_leaderboard_shows_places_figures_and_flags(hud: Shell, store: Store) -> None:
    record_job(store, rewards(12), model="m1", created_at=BEGAN)
    record_job(store, {**rewards(1), "t11": [Outcome.GRADER]}, model="m2")
    record_job(store, rewards(12), model="m1", created_at=BEGAN + 5)
    shown = hud("leaderboard", "set")
    assert shown.code == 0, shown.err
    table = [line.split() for line in shown.out.splitlines()]
    assert table[4][:5] == ["1", "m1", "1.000", "1.000–1.000", "1.000"]
    assert "m2: 1 of 12 ungraded (grader 1)" in shown.out
    assert "warning: unequal coverage: from 91.7 % to 100.0 %" in shown.out
    data = hud("leaderboard", "set", "--json").data
    assert [row["places"] for row in data["standings"]] == [[1, 1], [2, 2]]
    assert len(hud("leaderboard", "set", "--jobs", "--json").data["standings"]) == 3


def test_what_cannot_be_compared_is_said_in_one_sentence(hud: Shell, store: Store) -> None:
    job = record_job(store, rewards(3))
    for words, says in (
        (["compare"], "there is nothing to compare: name two jobs or more"),
        (["compare", job], "there is nothing to compare"),
        (["compare", job, job[:12]], "was named twice"),
        (["compare", job, "ffffffff"], "there is no job ffffffff"),
        (["compare", "--taskset", "set"], "only m1 ran taskset 'set'"),
        (["compare", "--taskset", "set", "m1", "m9"], "no side is called 'm9'"),
        (["compare", "--taskset", "none", "m1"], "no job of a taskset 'none'"),
        (["leaderboard", "none"], "no job of a taskset 'none'"),
    ):
        found = hud(*words)
        assert (found.code, says in found.err) == (2, True), (words, found.err)
    empty = Shell.__new__(Shell)
    empty.__dict__.update(hud.__dict__)
    empty.env = {**hud.env, "HUD_HOME": str(hud.home) + "-none"}
    nothing = empty("leaderboard", "set")
    assert (nothing.code, "nothing has been recorded" in nothing.err) == (2, True)
    assert not Path(empty.env["HUD_HOME"]).exists()
