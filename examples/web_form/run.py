"""Fill in a form in a sandboxed Chromium: the reference solution, and doing nothing.

python examples/web_form/run.py     (needs chromium)
"""

import asyncio
from pathlib import Path

from hud import LocalRuntime, SubprocessRuntime, Taskset
from hud.agents import NoopAgent, OracleAgent

SOURCE = Path(__file__).with_name("tasks.py")


async def main() -> None:
    tasks = Taskset.from_file(SOURCE)
    for runtime in (LocalRuntime(SOURCE), SubprocessRuntime(SOURCE)):
        filled = await tasks.run(OracleAgent(SOURCE), runtime=runtime)
        left = await tasks.run(NoopAgent(), runtime=runtime)
        name = type(runtime).__name__
        print(f"{name}: {filled.reward:.1f} filled in, {left.reward:.1f} left empty")
        assert not filled.errors and not left.errors, [run.trace.error for run in filled.errors]
        assert (filled.reward, left.reward) == (1.0, 0.0), [run.grade for run in filled.runs]


if __name__ == "__main__":
    asyncio.run(main())
