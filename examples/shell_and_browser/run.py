"""Serve a page from a shell and read it in a browser: the reference solution, and doing nothing.

python examples/shell_and_browser/run.py     (needs chromium and python3 on the system)
"""

import asyncio
from pathlib import Path

from hud import LocalRuntime, SubprocessRuntime, Taskset
from hud.agents import NoopAgent, OracleAgent

SOURCE = Path(__file__).with_name("tasks.py")


async def main() -> None:
    tasks = Taskset.from_file(SOURCE)
    for runtime in (LocalRuntime(SOURCE), SubprocessRuntime(SOURCE)):
        added = await tasks.run(OracleAgent(SOURCE), runtime=runtime)
        left = await tasks.run(NoopAgent(), runtime=runtime)
        name = type(runtime).__name__
        print(f"{name}: {added.reward:.1f} added up, {left.reward:.1f} with nothing written")
        assert not added.errors and not left.errors, [run.trace.error for run in added.errors]
        assert (added.reward, left.reward) == (1.0, 0.0)


if __name__ == "__main__":
    asyncio.run(main())
