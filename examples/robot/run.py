"""A robot pushes a block, here and in processes of its own: the reference policy, and nothing.

pip install 'hud-python[robot]' gym-pusht
python examples/robot/run.py
"""

import asyncio
from pathlib import Path

from hud import LocalRuntime, SubprocessRuntime, Taskset
from hud.agents import NoopAgent, OracleAgent
from hud.trace.robot_steps import ObservationStep

SOURCE = Path(__file__).with_name("tasks.py")


async def main() -> None:
    tasks = Taskset.from_file(SOURCE)
    for runtime in (LocalRuntime(SOURCE), SubprocessRuntime(SOURCE)):
        pushed = await tasks.run(OracleAgent(SOURCE), runtime=runtime, max_concurrent=1)
        left = await tasks.run(NoopAgent(), runtime=runtime, max_concurrent=1)

        name = type(runtime).__name__
        for run in pushed.runs:
            seen = run.trace.collect(lambda s: s if isinstance(s, ObservationStep) else None)
            print(f"{name}: {run.reward:.1f}  {run.grade.content}; {len(seen)} observations kept")
            assert seen, "what the robot saw is on the trace"
        print(f"{name}: {left.reward:.1f}  when nobody pushes")
        assert (pushed.reward, left.reward) == (1.0, 0.0), [run.trace.error for run in pushed.runs]
        assert not pushed.errors and not left.errors


if __name__ == "__main__":
    asyncio.run(main())
