"""Run a grader's command over a workspace in a sandbox made for it, and elsewhere as it is.

Which folders are workspaces is known to `hud.sandbox.roots`; how a command without any workspace
is run is `command`.
"""

from __future__ import annotations

from hud._core.errors import GraderFault
from hud.graders.command import (
    OUTPUT_LIMIT_BYTES,
    CommandResult,
    NoWorkingDirectory,
    Output,
    run_in_own_group,
)
from hud.sandbox import roots
from hud.sandbox.process import Completed

# What git would run or read because a repository says so. Programs that make a diff, a filter or a
# merge are not among it: there is no value that turns them off (`git diff --no-ext-diff` does).
QUIET_GIT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_COUNT": "3",
    "GIT_CONFIG_KEY_0": "core.hooksPath",
    "GIT_CONFIG_VALUE_0": "/dev/null",
    "GIT_CONFIG_KEY_1": "core.fsmonitor",
    "GIT_CONFIG_VALUE_1": "false",
    "GIT_CONFIG_KEY_2": "core.pager",
    "GIT_CONFIG_VALUE_2": "cat",
}


async def run_where_it_belongs(command: str, *, cwd: str | None, timeout_s: float) -> CommandResult:
    """Run `command` in bash, in a fresh sandbox when its folder is a workspace (`CommandRunner`).

    Without `cwd` it runs in the workspace of the environment that is grading, if it has one. The
    sandbox shows the workspace where the agent saw it and where it lies on this machine, and has
    no network, no variables but the basic ones, and none of the agent's processes.

    Raises:
        GraderFault: when the sandbox cannot be made.
        NoWorkingDirectory: when `cwd` is gone.
    """
    from hud._core.errors import CapabilityFault

    live = roots.current_root() if cwd is None else roots.root_of(cwd)
    if live is None and cwd is not None:
        live = _seen_by_the_agent(cwd)
    if live is None:
        return await run_in_own_group(command, cwd=cwd, timeout_s=timeout_s)
    from hud.sandbox.fresh import run_fresh

    folder = _inside(live, cwd)
    argv = ["bash", "--noprofile", "--norc", "-c", _ENTER, "bash", folder, command]
    try:
        done = await run_fresh(
            live.spec,
            argv,
            uid=live.sandbox.uid if live.sandbox.is_running else None,
            env=QUIET_GIT,
            timeout_s=timeout_s,
            max_output_bytes=OUTPUT_LIMIT_BYTES,
        )
    except CapabilityFault as error:
        raise GraderFault(f"a grader's sandbox cannot be made: {error.message}") from error
    if done.exit_code == _NO_FOLDER and done.stderr.endswith(_NO_FOLDER_SAYS):
        raise NoWorkingDirectory(f"the grader's working directory {cwd!r} does not exist")
    return _result(done)


_NO_FOLDER = 97
_NO_FOLDER_SAYS = b"hud: no such folder\n"
_ENTER = (
    f'cd -- "$1" 2>/dev/null || {{ echo "hud: no such folder" >&2; exit {_NO_FOLDER}; }}; '
    'exec bash --noprofile --norc -c "$2"'
)


def _seen_by_the_agent(cwd: str) -> roots.LiveRoot | None:
    """Return the workspace that the agent knows by a path which means something else out here."""
    live = roots.current_root()
    if live is None:
        return None
    guest = live.spec.guest_path
    return live if cwd == guest or cwd.startswith(f"{guest}/") else None


def _inside(live: roots.LiveRoot, cwd: str | None) -> str:
    guest = live.sandbox.guest_path
    if cwd is None:
        return guest
    if cwd == guest or cwd.startswith(f"{guest}/"):
        return cwd
    relative = roots.below(live, cwd)
    return guest if relative in (None, ".") else f"{guest}/{relative}"


def _result(done: Completed) -> CommandResult:
    return CommandResult(
        exit_code=done.exit_code,
        stdout=Output(done.stdout.decode("utf-8", "replace"), done.dropped_bytes),
        stderr=Output(done.stderr.decode("utf-8", "replace")),
        ended_because=done.ended_because,
    )
