"""The same `hud eval` again, with the cache on: no model is asked, and the rewards are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud.testing.model_server import Call, Question, Reply, Say
from tests.e2e.harness.served import AGENTS, in_thread, variables
from tests.e2e.hud_command import Shell

TASKS = """
from hud import Environment

env = Environment("guessing")


@env.tool
def hint(word: str) -> str:
    return f"the first letter is {word[0]}"


@env.template()
async def guess(word: str):
    answer = yield f"Ask for a hint on {word}, then guess."
    yield float(answer == word[0])


tasks = [guess(word=word) for word in ("alpha", "beta")]
"""


@pytest.mark.parametrize("agent", AGENTS)
def test_a_second_run_asks_no_model_and_gives_the_same_rewards(tmp_path: Path, agent: str) -> None:
    """Repeats of a task differ, and stay what they were."""
    answers = {"alpha": ["a", "x", "a"], "beta": ["x", "b", "b"]}

    def rule(question: Question) -> Reply:
        word = question.turns[0].text.split()[5].rstrip(",")
        if question.turn == 0:
            return Say(calls=[Call("hint", {"word": word})], reasoning="a hint first")
        left = answers[word]
        return Say(left.pop(0) if left else "?", reasoning="now I know")

    shell = Shell(tmp_path)
    shell.write("tasks.py", TASKS)
    command = ["eval", "tasks.py", *AGENTS[agent], "--all", "--group", "3", "--json"]
    with in_thread(rule) as server:
        shell.env |= {**variables(server), "HUD_MODEL_CACHE": str(tmp_path / "cache")}
        first = shell(*command)
        assert first.code == 0, first.err
        assert len(server.requests) == 12
        again = shell(*command)
    assert again.code == 0, again.err
    assert len(server.requests) == 12, "a model was asked again"
    assert _rewards(first.data) == _rewards(again.data)
    assert first.data["mean"] == pytest.approx(4 / 6)
    assert (again.data["cost_usd"], again.data["graded"]) == (0.0, 6)
    assert first.data["job_id"] != again.data["job_id"]
    assert again.data["turns"] == first.data["turns"] == 12


def _rewards(data: dict[str, list[dict[str, object]]]) -> dict[tuple[object, object], object]:
    return {(run["task"], run["member"]): run["reward"] for run in data["runs"]}
