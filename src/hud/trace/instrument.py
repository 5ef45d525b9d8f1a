"""`instrument`: record calls of a user's function as debug spans on the present trace."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast, overload

from hud._core.errors import bounded
from hud.trace.clock import utc_now
from hud.trace.context import current_recorder
from hud.trace.recorder import Recorder
from hud.trace.spans import span_trace_id

F = TypeVar("F", bound=Callable[..., Any])

_MAX_ITEMS = 10
_MAX_TEXT = 2_000


@overload
def instrument(func: F) -> F: ...
@overload
def instrument(
    func: None = None,
    *,
    name: str | None = None,
    record_args: bool = True,
    record_result: bool = True,
) -> Callable[[F], F]: ...
def instrument(
    func: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    record_args: bool = True,
    record_result: bool = True,
) -> Any:
    """Record each call of a function, sync or async, as a span when made within a trace.

    Usable with or without parentheses; outside a trace the function runs untouched. Containers
    are cut to 10 items; wrapping twice records once.
    """

    def wrap(fn: Callable[..., Any]) -> Callable[..., Any]:
        if getattr(fn, "__hud_instrumented__", False):
            return fn
        label = name or f"{fn.__module__}.{fn.__qualname__}"

        def begin(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Span | None:
            recorder = current_recorder()
            if recorder is None:
                return None
            request = {"args": list(args), **kwargs} if record_args else None
            return _Span(recorder, label, fn, request)

        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                span = begin(args, kwargs)
                try:
                    result = await fn(*args, **kwargs)
                except BaseException as error:
                    if span is not None:
                        span.fail(error)
                    raise
                if span is not None:
                    span.finish(result if record_result else None)
                return result

            wrapped: Callable[..., Any] = run_async
        else:

            @functools.wraps(fn)
            def run_sync(*args: Any, **kwargs: Any) -> Any:
                span = begin(args, kwargs)
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:
                    if span is not None:
                        span.fail(error)
                    raise
                if span is not None:
                    span.finish(result if record_result else None)
                return result

            wrapped = run_sync
        wrapped.__hud_instrumented__ = True  # type: ignore[attr-defined]
        return wrapped

    return wrap if func is None else wrap(func)


class _Span:
    """One call under way."""

    def __init__(self, recorder: Recorder, name: str, fn: Callable[..., Any], request: Any) -> None:
        self._recorder = recorder
        self._name = name
        self._fn = fn
        self._started = utc_now()
        self._events: list[dict[str, Any]] = []
        if request is not None:
            self._event("hud.request", {"hud.payload": _shorten(request)})

    def _event(self, name: str, attributes: dict[str, Any]) -> None:
        self._events.append({"name": name, "timestamp": utc_now(), "attributes": attributes})

    def finish(self, result: Any) -> None:
        if result is not None:
            self._event("hud.result", {"hud.payload": _shorten(result)})
        self._send("OK", None)

    def fail(self, error: BaseException) -> None:
        try:
            message = bounded(str(error), _MAX_TEXT)
        except Exception:
            message = type(error).__qualname__
        self._event("exception", {"exception.message": message})
        self._send("ERROR", message)

    def _send(self, status: str, message: str | None) -> None:
        self._recorder.span(
            {
                "name": self._name,
                "trace_id": span_trace_id(self._recorder.trace_id),
                "span_id": os.urandom(8).hex(),
                "parent_span_id": None,
                "kind": "INTERNAL",
                "start_time": self._started,
                "end_time": utc_now(),
                "status_code": status,
                "status_message": message,
                "attributes": {
                    "hud.task_run_id": self._recorder.trace_id,
                    "code.function": self._fn.__qualname__,
                    "code.namespace": self._fn.__module__,
                },
                "events": self._events,
            }
        )


def _shorten(value: Any, depth: int = 4) -> Any:
    """Return a JSON-safe copy of bounded size: 10 items a container, 2,000 characters a text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return bounded(value, _MAX_TEXT)
    try:
        return _shorten_object(value, depth)
    except Exception:  # whatever a user's object does: looking at it must not break the call
        return f"<{type(value).__qualname__}>"


def _shorten_object(value: Any, depth: int) -> Any:
    if depth == 0:
        return bounded(value)
    if isinstance(value, Mapping):
        items = itertools.islice(cast("Mapping[Any, Any]", value).items(), _MAX_ITEMS)
        return {str(key): _shorten(item, depth - 1) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        some = itertools.islice(cast("Iterable[Any]", value), _MAX_ITEMS)
        return [_shorten(item, depth - 1) for item in some]
    dump = getattr(value, "model_dump", None)
    if dump is not None and not inspect.isclass(value):
        return _shorten(dump(mode="json", exclude_none=True), depth - 1)
    return bounded(value)
