"""The published client records an eval here, with all its steps, and fails it in every phase.

Whatever broke, and wherever: no run that nobody graded is shown as a 0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from hud.trace.steps import Trace
from tests.platform.programs import Published
from tests.platform.records.their_eval import PROGRAM
from tests.platform.server import Server

CANCEL = ("-m", "hud.cli", "jobs", "cancel")
OUTCOMES = {
    "good": "graded",
    "provisioning": "runtime",
    "starting": "environment",
    "agent": "agent",
    "agent graded": "graded",
    "grading": "grader",
    "is error": "grader",
    "no number": "grader",
    "timeout": "timeout",
    "timeout of the grader": "timeout",
    "verified": "graded",
    "verifying": "grader",
    "verifier's start": "grader",
    "cancelled": "cancelled",
}


class Recorded:
    """What the published client said of its runs, and a client of the platform they went to."""

    def __init__(self, lines: list[dict[str, Any]], client: httpx.Client, theirs: Any) -> None:
        self.runs = {line["case"]: line for line in lines}
        self.job: str = self.runs.pop("job")["job_id"]
        self.client = client
        self.theirs = theirs

    def shown(self, case: str) -> dict[str, Any]:
        answer = self.client.get(f"/v2/trace/{self.runs[case]['trace_id']}")
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def recorded(server: Server, peer_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("theirs")
    key = server.key(team="their-runs", scopes=("read", "write", "inference"))
    theirs = Published(peer_python, server, folder, key)

    def run(*words: str) -> str:
        done = theirs.attempt(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "platform report" not in done.stderr and "upload failed" not in done.stderr
        return done.stdout

    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    lines = [json.loads(line) for line in run("program.py").splitlines() if line[:1] == "{"]
    with server.client(key) as client:
        yield Recorded(lines, client, run)


@pytest.mark.parametrize(("case", "outcome"), OUTCOMES.items())
def test_what_was_not_graded_is_no_zero(recorded: Recorded, case: str, outcome: str) -> None:
    shown = recorded.shown(case)
    assert shown["outcome"] == outcome, shown
    if outcome == "graded":
        assert shown["reward"] == recorded.runs[case]["reward"] == 1.0
    else:
        assert shown["reward"] is None
        assert shown["status"] in ("error", "cancelled")
        assert shown["error"]
        assert recorded.runs[case].get("is_error", True)


def test_the_mean_is_over_what_was_graded(recorded: Recorded) -> None:
    counts = recorded.client.get(f"/v2/jobs/{recorded.job}").json()["counts"]
    assert (counts["runs"], counts["graded"], counts["mean_reward"]) == (14, 3, 1.0)
    assert sum(counts["ungraded"].values()) == 11
    assert counts["lower_bound"] == pytest.approx(3 / 14)


def test_every_step_is_there_and_reads_as_one_of_ours(recorded: Recorded) -> None:
    run = recorded.runs["good"]["trace_id"]
    kept = recorded.client.get(f"/v2/trace/{run}/steps").json()["items"]
    assert [each["seq"] for each in kept] == [1, 2, 3, 4, 5, 6]
    sources = ["task", "user", "agent", "tool", "agent", "task"]
    assert [each["source"] for each in kept] == sources
    Trace.model_validate({"steps": [each["payload"] for each in kept]})
    spans = recorded.client.get(f"/v2/trace/{run}/spans").json()["items"]
    assert [each["name"].rpartition(".")[2] for each in spans] == ["look"]


def test_what_it_used_is_shown(recorded: Recorded) -> None:
    shown = recorded.shown("good")
    used = (shown["turns"], shown["prompt_tokens"], shown["completion_tokens"], shown["cost_usd"])
    assert used == (2, 200, 20, 0.5)


def test_their_command_line_shows_the_job_and_the_run(recorded: Recorded) -> None:
    jobs = json.loads(recorded.theirs("-m", "hud.cli", "jobs", "list", "--json"))
    assert [(each["id"], each["name"]) for each in jobs] == [(recorded.job, "their job")]
    traces = json.loads(recorded.theirs("-m", "hud.cli", "jobs", "get", recorded.job, "--json"))
    ids = {each["trace_id"] for each in recorded.runs.values()}
    assert {each["id"] for each in traces} == ids
    run = recorded.runs["good"]["trace_id"]
    events = json.loads(recorded.theirs("-m", "hud.cli", "trace", "get", run, "--json"))
    kinds = [each["kind"] for each in events]
    assert kinds.count("agent_message") == 2 and kinds.count("tool_call") == 1
    shown = recorded.theirs("-m", "hud.cli", "trace", "get", run)
    assert "Turn 1" in shown and "bash" in shown and "a.py" in shown


def test_their_command_line_cancels(recorded: Recorded) -> None:
    run = recorded.runs["good"]["trace_id"]
    done = recorded.theirs(*CANCEL, recorded.job, "--trace-id", run, "--yes", "--json")
    assert "finished" in done
    everything = recorded.theirs(*CANCEL, "--all", "--yes", "--json")
    assert json.loads(everything)["jobs_cancelled"] == 0
