"""Rewards into advantages: sixteen rollouts per task, and a policy that learns from them.

The policy knows nothing at first. After every job each rollout's advantage over its group moves
it, as GRPO does with a model's weights; a rollout that broke moves nothing.

python examples/rl_group/run.py
"""

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import AsyncGenerator

from hud import Environment, Run, Taskset
from hud.eval import group_relative

env = Environment("rhymes")
RHYMES = {"cat": "hat", "moon": "spoon", "light": "night"}
WORDS = ["hat", "spoon", "night", "door"]
GROUP, ROUNDS, RATE = 16, 15, 1.5


@env.template()
async def rhyme(word: str) -> AsyncGenerator[str | float, str | None]:
    """Find a rhyme."""
    answer = yield f"Which of {', '.join(WORDS)} rhymes with {word}?"
    yield float(answer == RHYMES[word])


class Policy:
    """A table of preferences: per word, one score for each possible answer."""

    def __init__(self, seed: int) -> None:
        self.scores = {word: dict.fromkeys(WORDS, 0.0) for word in RHYMES}
        self.dice = random.Random(seed)

    def chances(self, word: str) -> dict[str, float]:
        """Softmax of the scores."""
        weights = {answer: math.exp(score) for answer, score in self.scores[word].items()}
        total = sum(weights.values())
        return {answer: weight / total for answer, weight in weights.items()}

    async def __call__(self, run: Run) -> str:
        """Draw an answer; one rollout in twenty loses its connection."""
        if self.dice.random() < 0.05:
            raise ConnectionResetError("the policy's server went away")
        chances = self.chances(str(run.args["word"]))
        return self.dice.choices(list(chances), list(chances.values()))[0]

    def learn(self, word: str, runs: list[Run]) -> None:
        """Move towards what did better than its group (the gradient of log-probability)."""
        chances = self.chances(word)
        moves: dict[str, float] = defaultdict(float)
        advantages = group_relative([run.reward for run in runs], normalize_std=True)
        for run, advantage in zip(runs, advantages, strict=True):
            for answer in WORDS:
                taken = float(answer == run.trace.content)
                moves[answer] += advantage * (taken - chances[answer])
        for answer, move in moves.items():
            self.scores[word][answer] += RATE * move / len(runs)


async def main() -> None:
    policy = Policy(seed=3)
    tasks = Taskset(rhyme(word=word) for word in RHYMES)
    means: list[float] = []
    broken = 0
    for round_number in range(1, ROUNDS + 1):
        job = await tasks.run(policy, group=GROUP)
        for slug, runs in job.results.items():
            policy.learn(str(tasks[slug].args["word"]), runs)
        means.append(job.reward)
        broken += len(job.errors)
        print(f"round {round_number:2}  mean reward {job.reward:.3f}  ungraded {len(job.errors)}")
    assert broken > 0, "some rollouts should have broken"
    assert all(math.isfinite(mean) for mean in means)
    assert means[0] < 0.6 and means[-1] > 0.85


if __name__ == "__main__":
    asyncio.run(main())
