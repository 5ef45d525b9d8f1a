"""One run of a template: step its generator to the prompt, then to the grade, then to its end.

Every way a template can misbehave becomes a fault that names it; nothing is scored silently.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from hud._core import json
from hud._core.errors import EnvironmentFault, Fault, GraderFault, InputError, bounded
from hud.environment.arguments import parse_answer
from hud.environment.daemons import Stage
from hud.environment.template import Template
from hud.sandbox import roots

logger = logging.getLogger(__name__)

_GRADE_KEYS = ("done", "content", "info", "isError", "subscores")


class Episode:
    """A template's generator between its two yields. `close` it in every case."""

    def __init__(self, template: Template[...], args: Mapping[str, Any]) -> None:
        self.template = template
        self._args = args
        self._bound: dict[str, Any] | None = None
        self._generator: AsyncGenerator[Any, Any] | None = None
        self._stage: Stage | None = None

    @property
    def _name(self) -> str:
        return f"template {self.template.id!r}"

    def bind(self) -> dict[str, Any]:
        """Return the arguments as the template's annotations want them; nothing runs yet.

        Raises:
            InputError: when the arguments do not fit the template.
        """
        if self._bound is None:
            try:
                self._bound = self.template.arguments.coerce(self._args)
            except InputError as error:
                raise InputError(f"{self._name}: {error.message}", hint=error.hint) from error
        return self._bound

    async def start(self) -> dict[str, Any]:
        """Run to the first yield and return the prompt frame.

        Raises:
            InputError: when the arguments do not fit the template.
            EnvironmentFault: when the template raises or ends before its prompt.
        """
        args = self.bind()
        daemons = self.template.env.daemons
        if len(daemons):
            self._stage = daemons.enter()
            await self._stage.begin()
        self._generator = self.template.fn(**args)
        try:
            with self._workspaces():
                value = await self._generator.asend(None)
        except StopAsyncIteration:
            raise EnvironmentFault(f"{self._name} ended without yielding a prompt") from None
        except Fault:
            raise
        except (Exception, SystemExit) as error:
            raise EnvironmentFault(f"{self._name} raised {_describe(error)}") from error
        frame = prompt_frame(value, self._name)
        if self._stage is not None:
            await self._stage.hand_over()
        return frame

    async def grade(self, answer: Any) -> dict[str, Any]:
        """Send the answer, return the grade frame, and run the template to its end.

        Raises:
            GraderFault: when the template raises while grading, or its grade is no number.
            EnvironmentFault: when it does not yield exactly twice.
        """
        generator = self._generator
        if generator is None:
            raise EnvironmentFault(f"{self._name} was not started")
        if self.template.returns is not None:
            answer = parse_answer(self.template.returns, answer)
        if self._stage is not None:
            await self._stage.end()
        try:
            with self._workspaces():
                value = await generator.asend(answer)
        except StopAsyncIteration:
            raise EnvironmentFault(
                f"{self._name} ended without yielding a grade",
                hint="a template yields exactly twice: the prompt, then the grade",
            ) from None
        except Fault:
            raise
        except (Exception, SystemExit) as error:
            raise GraderFault(f"{self._name} raised {_describe(error)} while grading") from error
        frame = grade_frame(value, self._name)
        try:
            await generator.asend(None)
        except StopAsyncIteration:
            return frame
        except (Exception, SystemExit) as error:
            logger.warning("%s raised %s after its grade", self._name, _describe(error))
            return frame
        raise EnvironmentFault(
            f"{self._name} yielded a third time",
            hint="a template yields exactly twice: the prompt, then the grade",
        )

    def _workspaces(self) -> AbstractContextManager[None]:
        return roots.graded_for(self.template.env.daemons)

    async def close(self) -> None:
        """End the agent's part and close the generator, whose `finally` blocks run; idempotent."""
        stage, self._stage = self._stage, None
        if stage is not None:
            try:
                await stage.close()
            except (Exception, SystemExit) as error:
                logger.warning("%s: its capabilities raised %s", self._name, _describe(error))
        generator, self._generator = self._generator, None
        if generator is None:
            return
        try:
            await generator.aclose()
        except (Exception, SystemExit) as error:
            logger.warning("%s raised %s while closing", self._name, _describe(error))


def prompt_frame(value: Any, name: str) -> dict[str, Any]:
    """Normalise a template's first yield into a prompt frame.

    Raises:
        EnvironmentFault: when it cannot be JSON.
    """
    if isinstance(value, str):
        return {"prompt": value}
    try:
        plain = json.to_plain(value)
    except (TypeError, ValueError) as error:
        raise EnvironmentFault(f"{name} yielded a prompt that is not JSON: {error}") from error
    if isinstance(plain, dict) and "prompt" in plain:
        return cast("dict[str, Any]", plain)
    if isinstance(plain, dict) and "role" in plain and "content" in plain:
        return {"prompt": [cast("dict[str, Any]", plain)]}
    return {"prompt": plain}


def grade_frame(value: Any, name: str) -> dict[str, Any]:
    """Normalise a template's second yield into a grade frame.

    Accepts a number, an object with a numeric `reward`, or a mapping with a numeric `score`.

    Raises:
        GraderFault: for anything else, NaN and infinity included.
    """
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, Any]", value)
        if "score" not in mapping:
            raise GraderFault(f"{name} yielded a grade without a numeric score: {bounded(mapping)}")
        frame = {"score": _number(mapping["score"], name)}
        frame.update((key, mapping[key]) for key in mapping if key != "score")
    elif hasattr(value, "reward") and not _is_number(value):
        frame = {"score": _number(value.reward, name)}
        for key in _GRADE_KEYS:
            held = getattr(value, key, None)
            if held is not None:
                frame[key] = held
    else:
        return {"score": _number(value, name)}
    try:
        plain = cast("dict[str, Any]", json.to_plain(frame))
    except (TypeError, ValueError) as error:
        raise GraderFault(f"{name} yielded a grade that is not JSON: {error}") from error
    _check_subscores(plain.get("subscores"), name)
    return plain


def _check_subscores(subscores: Any, name: str) -> None:
    if subscores is None:
        return
    if not isinstance(subscores, Sequence) or isinstance(subscores, str):
        raise GraderFault(f"{name} yielded subscores that are not a list: {bounded(subscores)}")
    for item in cast("Sequence[object]", subscores):
        value: Any = cast("Mapping[str, Any]", item).get("value") if _is_mapping(item) else None
        if not _is_number(value):
            raise GraderFault(f"{name} yielded a subscore without a numeric value: {bounded(item)}")


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | int | float):
        return True
    if not hasattr(value, "__float__") or isinstance(value, str | Mapping | Sequence):
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _number(value: Any, name: str) -> float:
    if not _is_number(value):
        raise GraderFault(
            f"{name} yielded {bounded(repr(value))} as its grade, which is no number",
            hint="yield a number, an EvaluationResult, or a dict with a numeric score",
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise GraderFault(f"{name} yielded {number} as its grade, which is not finite")
    return number


def _describe(error: BaseException) -> str:
    text = bounded(str(error), 500)
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__
