"""Run one program over a workspace's files in a sandbox made for it alone.

What the agent left (processes, temporary files, variables, shell settings) is not in it; neither
is a network. Meant for grading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hud._core.errors import CapabilityFault
from hud.sandbox.link import CannotStart
from hud.sandbox.process import Completed
from hud.sandbox.sandbox import Sandbox
from hud.sandbox.spec import Mount, SandboxSpec
from hud.sandbox.watch import Watch, watches_of


async def run_fresh(
    spec: SandboxSpec,
    argv: Sequence[str],
    *,
    uid: int | None = None,
    mounts: Sequence[Mount] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    timeout_s: float | None = None,
    input: bytes = b"",
    max_output_bytes: int = 1 << 20,
    writable: bool = True,
) -> Completed:
    """Run `argv` and return its output once nothing of it is left.

    When it lets the workspace grow beyond the limits of disk, or beyond what it held when that was
    more, it is killed (`Completed.ended_because`).

    Args:
        spec: The workspace's own; network, peers and variables are not taken over.
        uid: Whom the workspace's files belong to.
        mounts: Further mounts, seen by this program alone.
        env: Its variables beside the built-in ones.
        cwd: Working directory inside; the workspace otherwise.
        timeout_s: Seconds it may take; `exit_code` is None when they passed.
        input: Its standard input.
        max_output_bytes: How much of each stream is kept, the end of it.
        writable: Whether it may write into the workspace.

    Raises:
        CapabilityFault: when the sandbox cannot be made, or the program not started.
    """
    alone = replace(
        spec,
        network=False,
        allowed_hosts=None,
        peers=(),
        served=(),
        env=dict(env or {}),
        cwd=None,
        mounts=(*spec.mounts, *mounts),
        uid=uid if uid else spec.uid,
        writable=writable,
    )
    sandbox = Sandbox(alone)
    watches: list[Watch] = []
    reasons: list[str] = []

    async def exceeded(reason: str) -> None:
        reasons.append(reason)
        await sandbox.sweep()

    try:
        await sandbox.start()
        watches = watches_of(sandbox, exceeded, accepts_held=True)
        for watch in watches:
            watch.start()
        done = await sandbox.run(
            argv, input=input, cwd=cwd, timeout_s=timeout_s, max_output_bytes=max_output_bytes
        )
        was_killed = done.exit_code is not None and done.exit_code < 0
        return replace(done, ended_because=reasons[0]) if reasons and was_killed else done
    except CannotStart as error:
        raise CapabilityFault(f"{argv[0]!r} cannot be run in a sandbox: {error}") from error
    finally:
        for watch in watches:
            await watch.aclose()
        await sandbox.stop()
