"""Token ids and logprobs on a trace are those the server sent, turn by turn."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from hud import LocalRuntime, Taskset
from hud._core import json
from hud.eval.recording import default_store
from hud.testing.model_server import Question, Say
from hud.trace.steps import AgentStep, Sample
from tests.e2e.harness import policies
from tests.e2e.harness.served import agent_of, bare_home, provider
from tests.e2e.harness.test_every_dialect import EXAMPLES


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with bare_home(tmp_path, monkeypatch) as home:
        yield home


async def test_over_several_turns_with_tools_every_id_and_logprob_is_kept(home: Path) -> None:
    """Several runs at once, each on its own trace; ids of a vocabulary of 200,000."""
    sent: dict[str, list[Sample]] = {}
    numbers = random.Random(4)

    def rule(question: Question) -> Say:
        said = policies.spend(question)
        size = numbers.randint(1, 400)
        ids = [numbers.randrange(200_000) for _ in range(size)]
        logprobs = [-numbers.expovariate(1.0) for _ in range(size)]
        prompt = [numbers.randrange(200_000) for _ in range(numbers.randint(100, 3_000))]
        sample = Sample(prompt_token_ids=prompt, output_token_ids=ids, output_logprobs=logprobs)
        sent.setdefault(question.turns[0].text, []).append(sample)
        return replace(said, prompt_token_ids=prompt, token_ids=ids, logprobs=logprobs)

    source = EXAMPLES / "custom_tool" / "tasks.py"
    kwargs = {"return_token_ids": True, "logprobs": True}
    async with provider(home, rule) as server:
        agent = agent_of("chat", model="served-by-myself", completion_kwargs=kwargs)
        job = await Taskset.from_file(source).run(agent, runtime=LocalRuntime(source), group=3)
    assert len(server.requests) == 3 * len(job.runs) == 18
    assert all(request.body["return_token_ids"] is True for request in server.requests)
    kept: dict[str, list[Sample]] = {}
    for run in job.runs:
        assert run.reward == 1.0
        turns = [step for step in run.trace.steps if isinstance(step, AgentStep)]
        samples = [step.sample for step in turns if step.sample is not None]
        assert len(samples) == len(turns) == 3
        kept.setdefault(run.prompt_text, []).extend(samples)
        stored = default_store().read_steps(run.trace_id or "")
        payloads = [json.decode(step.payload) for step in stored]
        assert [
            Sample.model_validate(step["sample"]) for step in payloads if step.get("sample")
        ] == samples
    for prompt, samples in sent.items():
        assert sorted(map(_key, samples)) == sorted(map(_key, kept[prompt]))


def _key(sample: Sample) -> str:
    return sample.model_dump_json()
