"""Order through an environment's own MCP tools: the reference solution, and doing nothing.

python examples/custom_tool/run.py
"""

import asyncio
from pathlib import Path

from hud import LocalRuntime, SubprocessRuntime, Taskset
from hud.agents import NoopAgent, OracleAgent

SOURCE = Path(__file__).with_name("tasks.py")


async def main() -> None:
    tasks = Taskset.from_file(SOURCE)
    for runtime in (LocalRuntime(SOURCE), SubprocessRuntime(SOURCE)):
        bought = await tasks.run(OracleAgent(SOURCE), runtime=runtime)
        left = await tasks.run(NoopAgent(), runtime=runtime)
        name = type(runtime).__name__
        print(
            f"{name}: {bought.reward:.1f} ordered as told, {left.reward:.1f} with nothing ordered"
        )
        assert not bought.errors and not left.errors, [run.trace.error for run in bought.errors]
        assert (bought.reward, left.reward) == (1.0, 0.0)


if __name__ == "__main__":
    asyncio.run(main())
