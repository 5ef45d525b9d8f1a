"""Fix a failing test over SSH: a project with bugs, a shell to mend them, hidden tests to grade.

The project is copied into a new workspace for every rollout. The agent's commands run in a sandbox
that shows it nothing else; the hidden tests come into another sandbox when the agent is done.
"""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Literal

from hud import Environment, Run
from hud.capabilities import SSHClient
from hud.graders import EvaluationResult, PytestGrader, combine

HERE = Path(__file__).parent
Function = Literal["total", "discounted"]
MENDED = {"total": (" - 1\n", "\n"), "discounted": ("// 10", "// 100")}

env = Environment("fix-test")
shell = env.workspace(files=HERE / "project", python=True)


async def mend(run: Run, function: Function) -> str:
    """See the test fail, change the line that is wrong, see it pass."""
    ssh = await run.client.open("ssh", SSHClient)
    test = f"python -m pytest -q -k {function}"
    seen = await ssh.execute(test, timeout_s=60)
    assert seen.exit_status == 1, "the test fails before anything is done"
    wrong, right = MENDED[function]
    source = await ssh.read_text("prices.py")
    await ssh.write_text("prices.py", source.replace(wrong, right))
    seen = await ssh.execute(test, timeout_s=60)
    assert seen.exit_status == 0, seen.stdout
    return "The test passes."


@env.template(solution=mend)
async def fix(function: Function) -> AsyncGenerator[str | EvaluationResult, str]:
    """Mend one function of a small project."""
    yield f"The test of `{function}` in test_prices.py fails. Mend prices.py until it passes."
    tests = HERE / "hidden" / f"test_{function}.py"
    yield await combine(PytestGrader.grade(weight=1.0, name="hidden tests", tests=tests))
