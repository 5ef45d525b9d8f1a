"""Comparing contenders: what is paired, what is left out and said so, and what the verdict is."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hud._core.outcome import Outcome
from hud.eval.comparing import compare, compare_all
from hud.eval.contender import Contender, TaskRuns, Used, named_apart
from tests.contenders import NAN, contender, member


def tasks(count: int, reward: float) -> dict[str, list[float]]:
    return {f"t{n}": [reward] for n in range(count)}


def test_a_clear_difference_is_put_into_one_sentence() -> None:
    strong = {f"t{n}": [1.0, 1.0 if n % 3 else 0.0] for n in range(12)}
    found = compare(contender("big", strong), contender("small", tasks(12, 0.0)))
    assert found.better == "big"
    assert found.verdict == "big is better than small by 0.833 [0.677, 0.990], p < 0.001"
    assert found.test.is_exact
    assert found.warnings == ()
    assert (found.compared, found.disagreeing) == (12, 12)
    turned = compare(contender("small", tasks(12, 0.0)), contender("big", strong))
    assert turned.verdict == found.verdict
    assert turned.difference == -(found.difference or 0)


def test_where_nothing_can_be_told_the_verdict_says_so_and_names_what_could_be_found() -> None:
    rng = random.Random(4)
    first = {f"t{n}": [float(rng.random() < 0.5) for _ in range(2)] for n in range(30)}
    second = {f"t{n}": [float(rng.random() < 0.5) for _ in range(2)] for n in range(30)}
    found = compare(contender("one", first), contender("other", second))
    assert found.better is None
    assert found.verdict.startswith("no difference can be told from 30 tasks: one − other = ")
    assert found.detectable is not None and 0.1 < found.detectable < 0.6


def test_too_small_a_sample_is_warned_of_with_the_smallest_p_value_it_can_give() -> None:
    found = compare(contender("one", tasks(4, 1.0)), contender("other", tasks(4, 0.0)))
    assert found.better is None
    assert found.p_value == 0.125
    assert found.warnings[0] == (
        "too small a sample to say anything: the sides differ on 4 of 4 tasks, and no p-value "
        "below 0.125 can come out of so few"
    )


def test_sides_that_come_out_alike_on_many_tasks_are_no_small_sample() -> None:
    found = compare(contender("one", tasks(9, 1.0)), contender("other", tasks(9, 1.0)))
    assert (found.p_value, found.better, found.warnings) == (1.0, None, ())
    few = compare(contender("one", tasks(3, 1.0)), contender("other", tasks(3, 1.0)))
    assert "too small a sample" in few.warnings[0]


def test_an_ungraded_run_is_no_zero_and_unequal_coverage_is_said_loudly() -> None:
    full = tasks(10, 1.0)
    broken = {f"t{n}": [1.0, NAN] if n < 5 else [1.0, 1.0] for n in range(10)}
    found = compare(contender("one", full), contender("other", broken))
    assert found.difference == 0.0
    assert (found.lower_bound, found.upper_bound) == (0.0, 0.25)
    assert found.second.ungraded_by_cause == {"model": 5}
    assert found.warnings[-1] == (
        "unequal coverage: one has 10 of 10 runs graded, other has 15 of 20 runs graded; were the "
        "others 0 or 1, the difference would be +0.000 to +0.250"
    )


def test_a_verdict_that_the_ungraded_could_turn_round_says_that_too() -> None:
    strong = {f"t{n}": [1.0, NAN] for n in range(10)}
    weak = {f"t{n}": [0.4, NAN] for n in range(10)}
    found = compare(contender("one", strong), contender("other", weak))
    assert found.better == "one"
    assert "the ungraded runs could turn the verdict round" in found.warnings
    assert not any("unequal" in warning for warning in found.warnings)


def test_tasks_one_side_lacks_or_has_no_grade_for_are_left_out_and_counted() -> None:
    first = {**tasks(8, 1.0), "mine": [1.0], "blank": [NAN]}
    second = {**tasks(8, 1.0), "theirs": [0.0], "their-other": [0.0], "blank": [1.0]}
    found = compare(contender("one", first), contender("other", second))
    assert found.compared == 8
    assert found.slugs("only first") == ("mine",)
    assert found.slugs("only second") == ("their-other", "theirs")
    assert found.slugs("ungraded") == ("blank",)
    assert "only one has 1 task: left out" in found.warnings
    assert "only other has 2 tasks: left out" in found.warnings
    assert "1 task without a grade on one side: left out" in found.warnings


def test_a_task_that_changed_between_the_sides_is_left_out_unless_asked_for() -> None:
    first, second = contender("one", tasks(6, 1.0)), contender("other", tasks(6, 0.5))
    newer = contender("other", {"t0": [0.0]}, digest="v2").tasks["t0"]
    second = replace(second, tasks={**second.tasks, "t0": newer})
    found = compare(first, second)
    assert found.changed == found.slugs("changed") == ("t0",)
    assert (found.compared, found.difference) == (5, 0.5)
    assert "1 task changed between the sides: left out" in found.warnings
    nevertheless = compare(first, second, include_changed=True)
    assert nevertheless.compared == 6
    assert "1 task changed between the sides: compared nevertheless" in nevertheless.warnings


def test_of_several_versions_only_those_both_sides_ran_count() -> None:
    runs = (member("t", 0, 1.0, digest="v1"), member("t", 1, 0.0, digest="v2"))
    first = Contender("one", {"t": TaskRuns("t", runs, runs)})
    second = contender("other", {"t": [0.25]}, digest="v2")
    found = compare(first, second)
    assert found.pairs[0].difference == -0.25
    assert found.mixed == ("t",)
    assert compare(first, second, include_changed=True).pairs[0].difference == 0.25
    unknown = contender("other", {"t": [0.25]}, digest=None)
    assert compare(first, unknown).pairs[0].difference == 0.25


def test_the_tasks_that_differ_most_come_first() -> None:
    first = {"a": [0.5], "b": [1.0], "c": [0.0], "d": [NAN]}
    second = {"a": [0.25], "b": [0.0], "c": [0.5], "d": [1.0]}
    found = compare(contender("one", first), contender("other", second))
    assert [one.slug for one in found.pairs] == ["b", "c", "a", "d"]


def test_cost_tokens_and_time_count_every_attempt_at_the_compared_tasks() -> None:
    again = member("t", 0, Outcome.MODEL, cost_usd=0.25)
    good = member("t", 0, 1.0, attempt=2)
    left_out = member("alone", 0, 1.0, cost_usd=50.0)
    first = Contender(
        "one",
        {
            "t": TaskRuns("t", (good,), (again, good)),
            "alone": TaskRuns("alone", (left_out,), (left_out,)),
        },
    )
    dear = member("t", 0, 1.0, cost_usd=0.125, unpriced=1)
    second = Contender("other", {"t": TaskRuns("t", (dear,), (dear,))})
    found = compare(first, second)
    assert found.first.used == Used(0.75, 0.75, 0, 200.0, 2.0, 2.0)
    assert found.second.used == Used(None, 0.125, 1, 100.0, 1.0, 2.0)
    free = contender("third", {"t": [1.0]}, cost_usd=None)
    assert compare(first, free).second.used.cost_usd is None, "no price is not a price of 0"


def test_nothing_in_common_is_no_comparison() -> None:
    found = compare(contender("one", {"a": [1.0]}), contender("other", {"b": [1.0]}))
    assert (found.difference, found.p_value, found.interval) == (None, None, None)
    assert found.verdict == "one and other cannot be compared: no task is graded on both sides"
    assert json.loads(json.dumps(found.as_data()))["better"] is None


def test_invalid_runs_and_running_jobs_are_named() -> None:
    one = replace(contender("one", tasks(3, 1.0)), invalid={"wrong image": 2}, is_running=True)
    found = compare(one, contender("other", tasks(3, 1.0)))
    assert "2 invalid runs of one are left out (wrong image: 2)" in found.warnings
    assert "a job of one has not ended yet" in found.warnings


def test_several_are_compared_pairwise_and_their_p_values_adjusted() -> None:
    rng = random.Random(1)
    rewards = {
        name: {f"t{n}": [float(rng.random() < chance)] for n in range(14)}
        for name, chance in {"one": 0.9, "two": 0.5, "three": 0.2}.items()
    }
    sides = [contender(name, table) for name, table in rewards.items()]
    found = compare_all(sides)
    names = [(one.first.name, one.second.name) for one in found]
    assert names == [("one", "two"), ("one", "three"), ("two", "three")]
    for one in found:
        alone = compare(*[side for side in sides if side.name in (one.first.name, one.second.name)])
        assert one.p_value is not None and alone.p_value is not None
        assert alone.p_value <= one.p_value <= min(1.0, 3 * alone.p_value)
        assert "(adjusted for 3 comparisons)" in one.verdict
        assert one.difference == alone.difference


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, NAN]), st.floats(0, 1)), max_size=20),
    st.randoms(use_true_random=False),
)
def test_order_of_tasks_and_of_sides_changes_nothing_but_signs(
    rows: list[tuple[float, float]], rng: random.Random
) -> None:
    first = {f"t{n}": [one] for n, (one, _) in enumerate(rows)}
    second = {f"t{n}": [other] for n, (_, other) in enumerate(rows)}
    found = compare(contender("a", first), contender("b", second), flips=20)
    order = rng.sample(sorted(first), len(first))
    again = compare(
        contender("a", {slug: first[slug] for slug in order}),
        contender("b", {slug: second[slug] for slug in reversed(order)}),
        flips=20,
    )
    turned = compare(contender("b", second), contender("a", first), flips=20)
    assert [one.slug for one in again.pairs] == [one.slug for one in found.pairs]
    assert again.p_value == turned.p_value == found.p_value
    assert again.better == turned.better == found.better
    assert again.difference == pytest.approx(found.difference)
    if found.difference is not None:
        assert turned.difference == pytest.approx(-found.difference)


def test_names_are_as_short_as_tells_them_apart() -> None:
    def names(*sides: tuple[str | None, str | None, str]) -> list[str]:
        made = [Contender("", {}, agent, model, (job,)) for agent, model, job in sides]
        return [one.name for one in named_apart(made)]

    assert names(("claude", "m1", "a" * 32), ("openai", "m2", "b" * 32)) == ["m1", "m2"]
    assert names(("claude", "m1", "a" * 32), ("other", "m1", "b" * 32)) == ["claude m1", "other m1"]
    assert names(("c", "m1", "a" * 32), ("c", "m1", "b" * 32)) == ["m1 aaaaaaaa", "m1 bbbbbbbb"]
    assert names((None, None, "a" * 32), (None, None, "a" * 32)) == ["aaaaaaaa", "aaaaaaaa (2)"]
