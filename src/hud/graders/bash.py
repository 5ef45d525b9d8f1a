"""Score by the exit code of a bash command.

What the command's failure or slowness means is decided here; running it is `command`'s part.
"""

from __future__ import annotations

import math
import os
from typing import Any, ClassVar

from hud.graders.base import Grader
from hud.graders.command import CommandRunner, NoWorkingDirectory
from hud.graders.result import SubScore
from hud.graders.sandboxed import run_where_it_belongs


class BashGrader(Grader):
    """Run a command: exit code 0 scores 1.0, every other end of it 0.0.

    Attributes:
        default_timeout: Seconds a command may take when `timeout_seconds` is not given.
        runner: What runs the command: over a workspace in a sandbox made for it, elsewhere as a
            plain process group on this machine.
    """

    name: ClassVar[str] = "BashGrader"
    default_timeout: ClassVar[float] = 600
    runner: ClassVar[CommandRunner] = staticmethod(run_where_it_belongs)

    @classmethod
    async def compute_score(
        cls,
        command: str | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout_seconds: float | None = None,
        **kwargs: Any,
    ) -> SubScore:
        """Return 1.0 when `command`, run by bash in `cwd`, exits with 0 in time.

        `info` has `exit_code` (None when time ran out, negative for a signal), `stdout` and
        `stderr` (the last 64 KiB of each; `stdout_dropped_bytes` and `stderr_dropped_bytes` say
        what came before), and `timed_out` with `timeout` when the command took too long, which
        an agent can cause and so scores 0.0. So does a command that is killed because the
        workspace outgrew its limit of disk, with the reason as `error`, and a `cwd` that is gone,
        likewise; `hud check` tells a mistaken one apart, because the reference solution then fails
        as well. Variables named `HUD_*` or like a secret are kept from the command. Nothing it
        started is left running.

        Raises:
            GraderFault: when the command cannot be run: there is no bash.
            ValueError: without a command, or with a timeout that is not positive and finite.
        """
        if not command or "\0" in command:
            raise ValueError("BashGrader needs a non-empty `command` without NUL characters")
        timeout_s = float(cls.default_timeout if timeout_seconds is None else timeout_seconds)
        if not math.isfinite(timeout_s) or timeout_s <= 0:
            raise ValueError(f"BashGrader: timeout_seconds must be above 0, not {timeout_seconds}")
        directory = None if cwd is None else os.fspath(cwd)
        try:
            result = await cls.runner(command, cwd=directory, timeout_s=timeout_s)
        except NoWorkingDirectory as error:
            return SubScore(name=cls.name, value=0.0, info={"error": error.message})
        info: dict[str, Any] = {"exit_code": result.exit_code}
        for stream, output in (("stdout", result.stdout), ("stderr", result.stderr)):
            info[stream] = output.text
            if output.dropped_bytes:
                info[f"{stream}_dropped_bytes"] = output.dropped_bytes
        if result.ended_because:
            info["error"] = result.ended_because
        if result.exit_code is None:
            info |= {"timed_out": True, "timeout": timeout_s}
        return SubScore(name=cls.name, value=float(result.exit_code == 0), info=info)
