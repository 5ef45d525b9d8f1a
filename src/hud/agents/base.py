"""The agent contract: given a run, work on it and leave the answer in its trace.

Harnesses live one per file beside this one; `hud.testing.check_agent` runs any of them, a user's
own included, through the contract.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Generic, cast

from typing_extensions import TypeVar

from hud.agents.run import Run
from hud.agents.types import UNKNOWN_MODEL, AgentConfig

AgentFunction = Callable[[Run], Awaitable[Any]]
ConfigT_co = TypeVar("ConfigT_co", bound=AgentConfig, default=AgentConfig, covariant=True)


class Agent(ABC, Generic[ConfigT_co]):
    """A model with its harness.

    One instance drives any number of runs, concurrently, so it keeps no state between them. It
    answers by setting `run.trace.content` (or returning the text), stops by returning, and says
    why it stopped in `run.trace.stop_reason`. A failure it cannot work around is raised:
    `ModelFault` for the model API, `CapabilityFault` for a connection; anything else counts as
    the harness's own bug. It must let cancellation through.

    `Agent[MyConfig]` with `config_cls = MyConfig` takes a configuration of that type.

    Attributes:
        config: The settings; `config_cls()` when none are given.
    """

    config_cls: ClassVar[type[AgentConfig]] = AgentConfig

    def __init__(self, config: ConfigT_co | None = None) -> None:
        self.config: ConfigT_co = config or cast("ConfigT_co", self.config_cls())

    @abstractmethod
    async def __call__(self, run: Run) -> Any: ...

    def check_ready(self) -> None:
        """Load what the agent needs and see that it can work; called before a job begins.

        Raises:
            InputError: when something is missing that the user can give, such as a key.
        """

    @property
    def name(self) -> str:
        """How jobs and tables call this agent."""
        return type(self).__name__

    @property
    def model(self) -> str | None:
        """The model behind it, or None."""
        config = getattr(self, "config", None)
        model = cast("str | None", getattr(config, "model", None))
        return None if model == UNKNOWN_MODEL else model

    def describe(self) -> dict[str, Any]:
        """Return what tells this agent from another, as JSON-safe data without secrets.

        Two agents that describe themselves equally count as the same when a job is resumed.
        """
        described: dict[str, Any] = {"agent": self.name}
        config: Any = getattr(self, "config", None)
        if config is not None and hasattr(config, "model_dump"):
            dumped = config.model_dump(mode="json", exclude={"api_key", "model_client"})
            described["config"] = dumped
        return described


class FunctionAgent(Agent):
    """Any `async def agent(run)` as an `Agent`."""

    def __init__(self, function: AgentFunction) -> None:
        self._function = function

    async def __call__(self, run: Run) -> Any:
        return await self._function(run)

    @property
    def name(self) -> str:
        return getattr(self._function, "__qualname__", type(self._function).__name__)


def model_of(agent: Agent) -> str | None:
    """Return the name of the model behind an agent, also where `model` is a policy of its own."""
    model: object = agent.model
    if isinstance(model, str) or model is None:
        return model
    config = cast("AgentConfig | None", getattr(agent, "config", None))
    return None if config is None or config.model == UNKNOWN_MODEL else config.model


def as_agent(agent: Agent | AgentFunction) -> Agent:
    """Return `agent` itself, or an agent around an async function.

    Raises:
        TypeError: when it is neither.
    """
    if isinstance(agent, Agent):
        return cast("Agent", agent)
    if isinstance(agent, type):
        raise TypeError(f"agent must be an Agent, not the class: write {agent.__name__}(…)")
    if callable(agent):
        return FunctionAgent(agent)
    raise TypeError(f"agent must be an Agent or an async function, not {type(agent).__name__}")
