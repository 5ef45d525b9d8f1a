"""A field of the configuration as an attribute of the agent, where users look for it.

What fields there are is `types`.
"""

from __future__ import annotations

from typing import Any, Generic, Self, overload

from typing_extensions import TypeVar

from hud.agents.tool_agent import ToolAgent

ValueT = TypeVar("ValueT", default=Any)


class Setting(Generic[ValueT]):
    """The setting of the attribute's name; assigning it changes the agent's configuration."""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, agent: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, agent: ToolAgent[Any, Any], owner: type[Any]) -> ValueT: ...
    def __get__(self, agent: ToolAgent[Any, Any] | None, owner: type[Any]) -> ValueT | Self:
        return self if agent is None else getattr(agent.config, self._name)

    def __set__(self, agent: ToolAgent[Any, Any], value: ValueT) -> None:
        agent.config = agent.config.model_copy(update={self._name: value})
