"""A shell that lasts for one run, made of commands that each run on their own.

Every command is a bash of its own that begins with what the last one left: working folder,
variables, functions. So nothing a command does (`exit`, `set -e`, a syntax error, killing its
shell) ends the session. Options of the shell, aliases, traps and the list of background jobs do
not carry over; background processes themselves live on.

What the model sees of a result is `shell`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex

from hud._core.errors import CapabilityFault, InputError
from hud.agents.tools.base import ToolError
from hud.capabilities.ssh import CommandResult, SSHClient

DEFAULT_TIMEOUT_S = 120.0
_CLEAN_UP_S = 5.0
_INLINE_BYTES = 100_000
"""A daemon takes a command of about 124 KiB; longer ones go into a file first."""

# Emptied first: variables the session begins with and the shell had unset. The mark by which
# SSHClient kills a command stays.
_FORGET = (
    "for n in $(compgen -e); do case $n in SSH_COMMAND_ID) ;; *) unset -v $n ;; esac; done; unset n"
)
# %q: folder, previous folder.
_ENTER = (
    r"builtin cd -- %q || { PWD=$(builtin pwd); "
    r'printf "[the folder %%s is gone; this command began in %%s]\\n" %q "$PWD" >&3; }'
    r"\nOLDPWD=%q\nexport PWD OLDPWD\n"
)
# Builtins only until PATH is known to be sane; the rename keeps a half-written state from being
# read. `1` and `2` are the folders: any other name would be a variable of the model's.
_SAVE = """{{ set +euxvC; trap - DEBUG ERR; umask 077; set -- "$PWD" "$OLDPWD"; \
unset -v SSH_COMMAND_ID PWD OLDPWD RANDOM SRANDOM SECONDS BASH_ARGV0 BASH_EXECUTION_STRING _; \
{{ printf '%s\\n' {forget}; declare -p; printf {enter} "$1" "$1" "$2"; declare -f; declare -Fx; \
}} >{folder}/next; PATH=/usr/bin:/bin:$PATH; command mv -f {folder}/next {folder}/state; \
}} >/dev/null 2>&1"""
# On one line, so that bash counts a command's lines from 1. A command that set an exit trap of its
# own has replaced ours; its state is saved by a subshell before its trap runs.
_RUN = (
    "[ ! -r {folder}/state ] || . {folder}/state 3>&2 >/dev/null 2>&1; "
    'trap {save} EXIT; eval "set --; $1"; '
    '( set -- "$?"; case $(trap -p EXIT) in *{folder}*) ;; *) ( eval {save} ) ;; esac; exit "$1" )'
)
# Without bash nothing carries over.
_LINE = """[ -d {folder} ] || mkdir -m 700 {folder} 2>/dev/null
set -- {command}
command -v bash >/dev/null 2>&1 && exec bash --noprofile --norc -c {run} bash "$1"
exec sh -c "$1\""""


class ShellSession:
    """A persistent shell over one client; the commands of a session run one after another.

    Attributes:
        folder: Where its state is kept, at the commands' end; private, and removed by `close`.
    """

    def __init__(self, client: SSHClient, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._used = False
        self._begin_anew()

    async def run(self, command: str, *, timeout_s: float | None = None) -> CommandResult:
        """Run one command with what the last one left, and return how it ended.

        Args:
            timeout_s: Until it is killed; the session's own limit by default.

        Raises:
            ToolError: when no shell can be given the command.
            CapabilityFault: when the connection or the daemon fails.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        async with self._turn:
            self._used = True
            try:
                quoted = shlex.quote(command)
                if len(quoted.encode("utf-8", "replace")) > _INLINE_BYTES:
                    quoted = shlex.quote(await self._stored(command))
                line = _LINE.format(folder=self.folder, command=quoted, run=self._runner)
                return await self._client.execute(line, timeout_s=limit_s)
            except InputError as error:
                raise ToolError(f"the command cannot be run: {error.message}") from error

    async def restart(self) -> None:
        """Begin with a fresh shell; processes in the background live on.

        Raises:
            CapabilityFault: when the connection or the daemon fails.
        """
        async with self._turn:
            await self._clean_up()
            self._begin_anew()

    async def close(self) -> None:
        """Remove what the session kept; no error when the capability is gone."""
        with contextlib.suppress(CapabilityFault, OSError):
            await self._clean_up()

    def _begin_anew(self) -> None:
        self._used = False
        self.folder = f"/tmp/.shell-{secrets.token_hex(8)}"
        save = _SAVE.format(
            folder=self.folder, forget=shlex.quote(_FORGET), enter=shlex.quote(_ENTER)
        )
        run = _RUN.format(folder=self.folder, save=shlex.quote(save))
        self._runner = shlex.quote(run)

    async def _stored(self, command: str) -> str:
        """Store a command that is too long to be one, and return the command that runs it."""
        path = f"{self.folder}/command"
        await self._client.execute(f"mkdir -p -m 700 {self.folder}", timeout_s=_CLEAN_UP_S)
        try:
            await self._client.write_text(path, command, timeout_s=self._timeout_s)
        except OSError as error:
            raise ToolError(
                f"a command of {len(command)} characters could not be stored: {error.strerror}"
            ) from error
        return f'eval "$(cat {path})"'

    async def _clean_up(self) -> None:
        if self._used:
            await self._client.execute(f"rm -rf {self.folder}", timeout_s=_CLEAN_UP_S)
