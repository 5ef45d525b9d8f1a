"""The environment a user declares: templates, capabilities and hooks under one name.

Serving it is `server`; finding it in a source file is `loader`; running its tasks is `hud.eval`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec

from hud._core.errors import EnvironmentFault, Fault, InputError, bounded
from hud.environment.daemons import Daemons
from hud.environment.exposing import D, Exposing
from hud.environment.template import Solution, Template, TemplateFunction
from hud.protocol.capability import Capability

logger = logging.getLogger(__name__)

P = ParamSpec("P")

Hook = Callable[[], Awaitable[None]]
Reseed = Callable[[int], None]


class Environment(Exposing):
    """A named set of templates, the capabilities an agent may use, and hooks around serving.

    Attributes:
        name: How task rows refer to this environment.
        capabilities: Rows shown to agents; add with `add_capability`.
        tasks: Templates by id.
    """

    def __init__(
        self,
        name: str = "environment",
        *,
        version: str = "0.0.1",
        capabilities: Sequence[Capability] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.capabilities: list[Capability] = list(capabilities or ())
        self.tasks: dict[str, Template[...]] = {}
        self.daemons = Daemons()
        self._initialize: list[Hook] = []
        self._shutdown: list[Hook] = []
        self._reseed: list[Reseed] = []
        self._started = False
        self._is_open = False

    def __repr__(self) -> str:
        return f"<Environment {self.name!r}: {len(self.tasks)} templates>"

    @property
    def templates(self) -> dict[str, Template[...]]:
        """The templates by id."""
        return self.tasks

    def template(
        self,
        *,
        id: str | None = None,
        description: str = "",
        input: Any = None,
        returns: Any = None,
        solution: Solution | None = None,
    ) -> Callable[[TemplateFunction[P]], Template[P]]:
        """Register an async generator function that yields a prompt, then a grade.

        The first yield gives the prompt and receives the answer; the second gives the grade.

        Args:
            id: Name of the template; the function's own name otherwise.
            description: Shown in the manifest; the docstring otherwise.
            input: Type of structured input, for the manifest.
            returns: Type of the answer. The template then receives an `Answer`.
            solution: Reference solution, `async fn(run, **args) -> answer`, played by the
                `oracle` agent. It stays in this source and is part of no manifest.

        Raises:
            TypeError: when the function is no async generator function.
            ValueError: when the id is taken.
        """

        def register(fn: TemplateFunction[P]) -> Template[P]:
            template = Template(
                self,
                fn,
                id=id,
                description=description,
                input=input,
                returns=returns,
                solution=solution,
            )
            if template.id in self.tasks:
                raise ValueError(f"environment {self.name!r} has two templates {template.id!r}")
            self.tasks[template.id] = template
            return template

        return register

    def initialize(self, fn: Hook) -> Hook:
        """Register an async function to run before the first connection is accepted."""
        self._initialize.append(fn)
        return fn

    def shutdown(self, fn: Hook) -> Hook:
        """Register an async function to run on the way out, the last registered first."""
        self._shutdown.append(fn)
        return fn

    def reseed(self, fn: Reseed) -> Reseed:
        """Register `fn(seed)` to run in every process forked for a rollout, before `initialize`.

        Python's `random`, numpy and torch are reseeded without it; use it for any other source
        of randomness that was created while the source was imported.
        """
        self._reseed.append(fn)
        return fn

    @property
    def has_hooks(self) -> bool:
        """Whether starting or stopping runs any code of the user's."""
        return bool(self._initialize or self._shutdown)

    def apply_seed(self, seed: int) -> None:
        """Run the `reseed` hooks, in order."""
        for fn in self._reseed:
            fn(seed)

    def add_capability(self, cap: Capability) -> None:
        """Expose one more connection; one of the same name is replaced."""
        if self._is_open:
            logger.warning(
                "capability %r was added after initialize: connected clients do not see it",
                cap.name,
            )
        self.capabilities = [held for held in self.capabilities if held.name != cap.name]
        self.capabilities.append(cap)

    def add_daemon(self, daemon: D) -> D:
        """Have a daemon started and stopped with this environment, and its row shown to agents.

        Daemons and `initialize` hooks start in the order they were declared.

        Raises:
            ValueError: when the name is taken by another daemon.
        """
        self.daemons.add(daemon)

        async def start_daemon() -> None:
            await daemon.start()
            self.add_capability(daemon.capability())

        self.initialize(start_daemon)
        self.shutdown(daemon.stop)
        return daemon

    def capability(self, name: str) -> Capability:
        """Return the row of that name.

        Raises:
            KeyError: when there is none.
        """
        for cap in self.capabilities:
            if cap.name == name:
                return cap
        raise KeyError(name)

    def capability_address(self, name: str) -> tuple[str, int] | None:
        """Return where that capability's daemon listens, or None when nothing can be dialled."""
        for cap in self.capabilities:
            if cap.name == name:
                return cap.address
        return None

    def find(self, template_id: str) -> Template[...]:
        """Return a template.

        Raises:
            InputError: when the environment has none of that id.
        """
        template = self.tasks.get(template_id)
        if template is None:
            known = ", ".join(sorted(self.tasks)[:20]) or "none"
            raise InputError(
                f"environment {self.name!r} has no task {bounded(template_id)!r}",
                hint=f"its tasks: {known}",
            )
        return template

    def manifest(self) -> list[dict[str, Any]]:
        """Return what `tasks.list` shows of every template."""
        return [template.manifest_entry() for template in self.tasks.values()]

    async def start(self) -> None:
        """Run the initialize hooks once, in order.

        Raises:
            EnvironmentFault: when a hook raises; the shutdown hooks have then run.
        """
        if self._started:
            return
        self._started = True
        for fn in self._initialize:
            try:
                await fn()
            except Fault:
                await self.stop()
                raise
            except (Exception, SystemExit) as error:
                await self.stop()
                raise EnvironmentFault(
                    f"environment {self.name!r}: initialize hook {_name(fn)!r} raised "
                    f"{type(error).__qualname__}: {error}"
                ) from error
            except BaseException:
                await self.stop()
                raise
        self.daemons.started()
        self._is_open = True

    async def stop(self) -> None:
        """Run the shutdown hooks once, in reverse; one that raises does not stop the others."""
        if not self._started:
            return
        self._started = self._is_open = False
        for fn in reversed(self._shutdown):
            try:
                await fn()
            except (Exception, SystemExit) as error:
                logger.warning(
                    "environment %r: shutdown hook %r raised %s: %s",
                    self.name,
                    _name(fn),
                    type(error).__qualname__,
                    error,
                )


def _name(fn: Hook) -> str:
    return getattr(fn, "__name__", repr(fn))
