"""`hud eval`: its arguments. What it does is `evaluation`."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded


def _agents(incomplete: str) -> list[str]:
    from hud.agents.create import known_agents

    return [name for name in known_agents() if name.startswith(incomplete)]


def _places(incomplete: str) -> list[str]:
    from hud.eval.places import known_places

    return [name for name in (*known_places(), "tcp://") if name.startswith(incomplete)]


@guarded
def command(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A .py file or folder with tasks, rows in a .json or .jsonl file, or the name of "
            "a taskset on the platform. "
            "Default: tasks.py or env.py in this folder.",
            show_default=False,
        ),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Argument(
            help="Who works on the tasks: claude, openai, gemini, openai_compatible, a model by "
            "its name, oracle, noop, human, or your own as path.py:attribute.",
            show_default=False,
            autocompletion=_agents,
        ),
    ] = None,
    all_tasks: Annotated[bool, typer.Option("--all", help="Run every task, not only one.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Like --all --max-steps 100.")] = False,
    task_ids: Annotated[
        str | None,
        typer.Option("--task-ids", help="Run these tasks: slugs or template ids, a,b,c."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model behind the agent.")
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(
            "--config", "-c", metavar="KEY=VALUE", help="A setting of the agent. Repeatable."
        ),
    ] = None,
    gateway: Annotated[
        bool,
        typer.Option(
            "--gateway", "-g", help="Ask the model through the gateway, also where a key is set."
        ),
    ] = False,
    group: Annotated[
        int | None,
        typer.Option(
            "--group",
            "--group-size",
            metavar="N",
            min=1,
            help="Repeats per task.",
            show_default="1",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="Where rollouts run: local, subprocess, bundle, docker, ray, kubernetes, modal, "
            "daytona, e2b, hud or hosted, where need be with an argument as in docker:IMAGE; or "
            "the address of what serves already, tcp://host:port or unix:///path.",
            show_default="subprocess; hosted for a taskset of the platform without a source here",
            autocompletion=_places,
        ),
    ] = None,
    remote: Annotated[
        bool,
        typer.Option(
            "--remote", help="Run everything on the platform: the same as --runtime hosted."
        ),
    ] = False,
    env_source: Annotated[
        str | None,
        typer.Option(
            "--source", "-s", help="Where the environment is defined, for rows from a file."
        ),
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Rollouts at once.", show_default="30")
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Turns an agent may take.", show_default="10"),
    ] = None,
    rollout_timeout: Annotated[
        float | None, typer.Option(help="Seconds for one whole rollout.", show_default="no limit")
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Further attempts at rollouts that broke at the runtime, model or capability.",
            show_default="2",
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            help="US dollars for the whole job; it ends when they are used up.",
            metavar="USD",
            show_default="no limit",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            help="Prompt and completion tokens for the whole job.",
            metavar="N",
            show_default="no limit",
        ),
    ] = None,
    max_turns: Annotated[
        int | None,
        typer.Option(help="Model turns for the whole job.", metavar="N", show_default="no limit"),
    ] = None,
    max_time: Annotated[
        float | None,
        typer.Option(help="Seconds for the whole job.", metavar="SECONDS", show_default="no limit"),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Take this job up again: run what is missing or ungraded.", metavar="JOB"
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before a large run.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
    very_verbose: Annotated[
        bool, typer.Option("--very-verbose", help="The same as -vv.", hidden=True)
    ] = False,
) -> int:
    """Run an agent over tasks and report what came of it.

    One task runs unless --all, --full or --task-ids says otherwise. Everything is recorded.
    """
    from hud._core.errors import InputError
    from hud.cli.evaluation import evaluate
    from hud.cli.request import Request

    if remote and runtime not in (None, "hosted"):
        raise InputError(f"--remote and --runtime {runtime} say different things")
    request = Request(
        source=source,
        agent=agent,
        all_tasks=all_tasks or full,
        task_ids=task_ids,
        model=model,
        config=(*(config or ()), *(("gateway=true",) if gateway else ())),
        group=group,
        runtime="hosted" if remote else runtime,
        env_source=env_source,
        max_concurrent=max_concurrent,
        max_steps=max_steps if max_steps is not None or not full else 100,
        rollout_timeout=rollout_timeout,
        retries=retries,
        max_cost=max_cost,
        max_tokens=max_tokens,
        max_turns=max_turns,
        max_time=max_time,
        resume=resume,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
        verbose=2 if very_verbose else verbose,
    )
    return evaluate(request)
