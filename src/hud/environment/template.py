"""Templates: async generators that yield a prompt, then a grade; calling one mints a task.

Running a template is `episode`; finding them in a source file is `loader`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

from hud.environment.arguments import Arguments, json_schema
from hud.environment.task import Task

if TYPE_CHECKING:
    from hud.environment.environment import Environment

P = ParamSpec("P")

TemplateFunction = Callable[P, AsyncGenerator[Any, Any]]
Solution = Callable[..., Awaitable[Any]]


class Template(Generic[P]):
    """A registered template function.

    Calling it with the function's arguments returns a `Task` tied to the environment.

    Attributes:
        id: Name of the template within its environment.
        solution: Reference solution, `async fn(run, **args) -> answer`, or None. It stays
            in the source: no manifest holds it, and where an image or a bundle holds the source,
            no agent can read that.
    """

    def __init__(
        self,
        env: Environment,
        fn: TemplateFunction[P],
        *,
        id: str | None = None,
        description: str = "",
        input: Any = None,
        returns: Any = None,
        solution: Solution | None = None,
    ) -> None:
        name = getattr(fn, "__qualname__", repr(fn))
        if not inspect.isasyncgenfunction(fn):
            raise TypeError(
                f"{name}: a template is an async generator function that yields a prompt, "
                "then a grade"
            )
        if solution is not None and not callable(solution):
            raise TypeError(f"{name}: solution must be an async function, not {solution!r}")
        self.env = env
        self.fn = fn
        self.id = id or fn.__name__
        self.description = description or inspect.getdoc(fn) or ""
        self.input = input
        self.returns = returns
        self.solution = solution
        self.arguments = Arguments(fn)
        self.__name__ = fn.__name__
        self.__doc__ = fn.__doc__

    def __repr__(self) -> str:
        return f"<template {self.id!r} of {self.env.name!r}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        named = self.arguments.bind(args, kwargs)
        return Task(env=self.env.name, id=self.id, args=named).bound_to(self.env)

    def manifest_entry(self) -> dict[str, Any]:
        """Return the template as `tasks.list` shows it."""
        entry: dict[str, Any] = {
            "id": self.id,
            "description": self.description,
            "args": self.arguments.schema(),
        }
        if self.input is not None:
            entry["input"] = json_schema(self.input)
        if self.returns is not None:
            entry["returns"] = json_schema(self.returns)
        return entry
