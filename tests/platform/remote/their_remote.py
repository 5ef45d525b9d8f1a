"""A program for the published client's interpreter: HUDRuntime and HostedRuntime, unchanged.

It prints one JSON line: what the client itself made of its runs. It knows nothing of our package.
"""

PROGRAM = r"""
import asyncio
import json
import sys

from hud import HostedRuntime, HUDRuntime
from hud.agents.claude import ClaudeAgent
from hud.agents.openai import OpenAIAgent
from hud.agents.types import ClaudeConfig, OpenAIConfig
from hud.eval.task import Task
from hud.eval.taskset import Taskset


def told(job):
    return [
        {
            "trace_id": run.trace_id,
            "reward": run.reward,
            "status": run.trace.status,
            "error": run.grade.content if run.grade.is_error else None,
        }
        for run in job.runs
    ]


async def main():
    tasks = [
        Task(env="qa", id="ask", args={"number": 41}, slug="right"),
        Task(env="qa", id="ask", args={"number": 1}, slug="wrong"),
    ]
    claude = ClaudeAgent(ClaudeConfig(model="claude-haiku-4-5"))
    openai = OpenAIAgent(OpenAIConfig(model="gpt-5.6"))
    said = {}
    hosted = HostedRuntime(poll_interval=0.2)
    said["hosted claude"] = told(await Taskset("theirs", tasks).run(claude, runtime=hosted))
    said["hosted openai"] = told(await Taskset("theirs", tasks).run(openai, runtime=hosted))
    broken = Task(env="qa", id="broken")
    said["hosted broken"] = told(await Taskset("broken", [broken]).run(claude, runtime=hosted))
    said["lent"] = told(await Taskset("lent", tasks).run(claude, runtime=HUDRuntime()))
    print(json.dumps(said))


asyncio.run(main())
"""
