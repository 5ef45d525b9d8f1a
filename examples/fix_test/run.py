"""Mend a project over SSH: the reference solution passes the hidden tests, doing nothing fails.

python examples/fix_test/run.py
"""

import asyncio
from pathlib import Path

from hud import LocalRuntime, SubprocessRuntime, Taskset
from hud.agents import NoopAgent, OracleAgent

SOURCE = Path(__file__).with_name("tasks.py")


async def main() -> None:
    tasks = Taskset.from_file(SOURCE)
    for runtime in (LocalRuntime(SOURCE), SubprocessRuntime(SOURCE)):
        mended = await tasks.run(OracleAgent(SOURCE), runtime=runtime)
        left = await tasks.run(NoopAgent(), runtime=runtime)
        name = type(runtime).__name__
        print(f"{name}: {mended.reward:.1f} mended, {left.reward:.1f} left as it was")
        assert not mended.errors and not left.errors, [run.trace.error for run in mended.errors]
        assert (mended.reward, left.reward) == (1.0, 0.0)


if __name__ == "__main__":
    asyncio.run(main())
