"""Your own grader: a class that measures one thing, weighted with others into one grade.

The task asks for a Python function. Three things count: hidden tests pass (a shell command), the
code is short (a grader written here), and, as a penalty, it imports something.

python examples/custom_grader/run.py
"""

import ast
import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, ClassVar

from hud import Environment, Run, Task
from hud.agents import ScriptedAgent
from hud.graders import BashGrader, EvaluationResult, Grader, combine

env = Environment("python-function")
HIDDEN_TESTS = "from answer import fib; assert [fib(n) for n in range(8)] == [0,1,1,2,3,5,8,13]"


class ShortCode(Grader):
    """Full marks up to `limit` lines, less for more."""

    name: ClassVar[str] = "short"

    @classmethod
    async def compute_score(cls, code: str = "", limit: int = 5, **kwargs: Any) -> float:
        lines = [line for line in code.splitlines() if line.strip()]
        return min(1.0, limit / len(lines)) if lines else 0.0


class Imports(Grader):
    """1.0 when the code imports anything; give it a negative weight."""

    name: ClassVar[str] = "imports"

    @classmethod
    async def compute_score(cls, code: str = "", **kwargs: Any) -> tuple[float, dict[str, Any]]:
        try:
            nodes = list(ast.walk(ast.parse(code)))
        except SyntaxError as error:
            return 0.0, {"syntax_error": str(error)}
        found = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import)]
        return float(bool(found)), {"found": found}


@env.template()
async def write_fib() -> AsyncGenerator[str | EvaluationResult, str | None]:
    """Write a function, judged by hidden tests."""
    answer = yield "Write a Python function fib(n): the n-th Fibonacci number, fib(0) == 0."
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "answer.py").write_text(answer or "")
        yield await combine(
            BashGrader.grade(
                weight=0.75,
                name="hidden tests",
                command=f'"{sys.executable}" -c "{HIDDEN_TESTS}"',
                cwd=folder,
                timeout_seconds=3,
            ),
            ShortCode.grade(weight=0.25, code=answer or ""),
            Imports.grade(weight=-0.5, code=answer or ""),
        )


SHORT = (
    "def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a"
)
ANSWERS = {
    "short and right": (SHORT, 1.0),
    "needless import": (f"import math\n{SHORT}", 0.75 + 0.25 * 5 / 6 - 0.5),
    "wrong": ("def fib(n):\n    return n", 0.25),
    "loops for ever": ("while True: pass", 0.25),
    "nothing": ("", 0.0),
}


def parts_of(run: Run) -> str:
    """Show the parts of a run's grade on one line."""
    parts = run.evaluation["subscores"]
    return ", ".join(f"{part['name']} {part['value']:.2f}" for part in parts)


async def grade(task: Task, answer: str) -> Run:
    """Run the task once with a prepared answer."""
    return (await task.run(ScriptedAgent(answer))).runs[0]


async def main() -> None:
    for name, (answer, expected) in ANSWERS.items():
        run = await grade(write_fib(), answer)
        print(f"{run.reward:5.2f}  {name:16}  {parts_of(run)}")
        assert run.is_graded
        assert abs(run.reward - expected) < 1e-9, name


if __name__ == "__main__":
    asyncio.run(main())
