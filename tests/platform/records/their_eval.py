"""A program for the published client's interpreter: rollouts that go well, and that break.

It prints one JSON line per run: the case, its id, and what the client itself made of it. It knows
nothing of our package.
"""

PROGRAM = r'''
import asyncio
import json
import sys
from contextlib import asynccontextmanager

from hud import LocalRuntime
from hud.agents.base import Agent
from hud.agents.types import AgentStep, ToolStep, Usage
from hud.environment import Environment
from hud.eval.job import Job
from hud.eval.run import rollout
from hud.eval.task import Task
from hud.telemetry import instrument
from hud.telemetry.exporter import flush
from hud.types import MCPToolCall, MCPToolResult
from mcp.types import TextContent

env = Environment("theirs")


@env.template()
async def good(word: str = "hi"):
    answer = yield f"Say {word}."
    yield {"score": 1.0 if answer == word else 0.0, "info": {"word": word}}


@env.template()
async def approves():
    answer = yield "Judge."
    yield 1.0 if answer["score"] == 1.0 else 0.0


@env.template()
async def breaks_at_start():
    raise RuntimeError("the template broke")
    yield


@env.template()
async def breaks_at_grading():
    yield "Say hi."
    raise RuntimeError("the grader broke")


@env.template()
async def says_it_failed():
    yield "Say hi."
    yield {"score": 0.0, "isError": True, "content": "the evaluation broke"}


@env.template()
async def gives_no_number():
    yield "Say hi."
    yield {"score": float("nan")}


@env.template()
async def stands_still():
    yield "Say hi."
    await asyncio.sleep(3600)
    yield 1.0


@instrument
async def look(where: str) -> str:
    return f"looked at {where}"


class Saying(Agent):
    """Says hi, after a turn and a tool call."""

    async def __call__(self, run):
        await look("the door")
        call = MCPToolCall(name="bash", arguments={"command": "ls"})
        usage = Usage(prompt_tokens=100, completion_tokens=10, cost_usd=0.25)
        run.record(AgentStep(content="hm", reasoning="r", tool_calls=[call], usage=usage))
        text = TextContent(type="text", text="a.py")
        run.record(ToolStep(call=call, result=MCPToolResult(content=[text])))
        run.record(AgentStep(content="hi", done=True, usage=usage))
        run.trace.content = "hi"


class Breaking(Agent):
    async def __call__(self, run):
        run.trace.content = "hi"
        raise RuntimeError("the agent broke")


class Waiting(Agent):
    async def __call__(self, run):
        await asyncio.sleep(3600)


@asynccontextmanager
async def nowhere(task):
    raise RuntimeError("there is no place")
    yield


def verified(verifier):
    """Return the good task with a verifier that grades it."""
    return Task(env="theirs", id="good", args={}, verifier=Task(env="theirs", id=verifier, args={}))


async def cancelled(task, runtime, job_id):
    """Cancel a rollout while its agent works."""
    at_work = asyncio.Event()

    class Working(Agent):
        async def __call__(self, run):
            at_work.set()
            await asyncio.sleep(3600)

    trace_id = "c" * 32
    working = asyncio.create_task(
        rollout(task, Working(), runtime=runtime, job_id=job_id, trace_id=trace_id)
    )
    await at_work.wait()
    working.cancel()
    await asyncio.wait([working])
    print(json.dumps({"case": "cancelled", "trace_id": trace_id, "reward": None}), flush=True)


async def main():
    here = LocalRuntime(env)
    job = await Job.start("their job", group=1)
    cases = {
        "good": (good(), Saying(), here, None),
        "provisioning": (good(), Saying(), nowhere, None),
        "starting": (breaks_at_start(), Saying(), here, None),
        "agent": (breaks_at_grading(), Breaking(), here, None),
        "agent graded": (good(), Breaking(), here, None),
        "grading": (breaks_at_grading(), Saying(), here, None),
        "is error": (says_it_failed(), Saying(), here, None),
        "no number": (gives_no_number(), Saying(), here, None),
        "timeout": (good(), Waiting(), here, 1.0),
        "timeout of the grader": (stands_still(), Saying(), here, 1.0),
        "verified": (verified("approves"), Saying(), here, None),
        "verifying": (verified("breaks_at_grading"), Saying(), here, None),
        "verifier's start": (verified("breaks_at_start"), Saying(), here, None),
    }
    for case, (task, agent, runtime, limit_s) in cases.items():
        run = await rollout(task, agent, runtime=runtime, job_id=job.id, rollout_timeout=limit_s)
        told = {"case": case, "trace_id": run.trace_id, "reward": run.reward}
        told |= {"is_error": run.grade.is_error, "error": run.trace.error}
        print(json.dumps(told), flush=True)
    await cancelled(good(), here, job.id)
    print(json.dumps({"case": "job", "job_id": job.id}), flush=True)
    assert flush(30.0)


asyncio.run(main())
sys.exit(0)
'''
