"""Type a note in a real desktop editor: the reference solution, and doing nothing.

pip install 'hud-python[rfb]'
python examples/desktop_note/run.py     (needs tigervnc, openbox and mousepad)
"""

import asyncio
from pathlib import Path

from hud import LocalRuntime, SubprocessRuntime, Taskset
from hud.agents import NoopAgent, OracleAgent

SOURCE = Path(__file__).with_name("tasks.py")


async def main() -> None:
    tasks = Taskset.from_file(SOURCE)
    for runtime in (LocalRuntime(SOURCE), SubprocessRuntime(SOURCE)):
        typed = await tasks.run(OracleAgent(SOURCE), runtime=runtime)
        left = await tasks.run(NoopAgent(), runtime=runtime)
        name = type(runtime).__name__
        print(f"{name}: {typed.reward:.1f} typed and saved, {left.reward:.1f} left empty")
        assert not typed.errors and not left.errors, [run.trace.error for run in typed.errors]
        assert (typed.reward, left.reward) == (1.0, 0.0)


if __name__ == "__main__":
    asyncio.run(main())
