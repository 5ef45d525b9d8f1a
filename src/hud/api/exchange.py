"""One call to a platform, without I/O: what to send, and what an answer means.

Both clients drive it: they send `request`, and give `answered` or `failed` what came of it, which
is the reply, an error, or how long to wait before sending again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import httpx
from pydantic import BaseModel, ValidationError

from hud._core import json
from hud._core.errors import HudError, InputError, bounded
from hud._core.redact import redact
from hud._version import __version__
from hud.api.calls import Call
from hud.api.errors import (
    KeyRefused,
    NotOnPlatform,
    OutOfCredits,
    PlatformBusy,
    PlatformError,
    PlatformRefused,
    PlatformUnreachable,
    ReplyUnreadable,
)
from hud.api.place import PlatformPlace

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ERRNO = re.compile(r"^\[Errno -?\d+\] ")
_ERROR_LIMIT_BYTES = 64 * 1024
_LONGEST_WAIT_S = 30.0
_DETAIL_CHARS = 1_500
_PLAN_WORDS = ("pro plan", "requires pro", "pro mode")
_warned: set[str] = set()


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call that may be repeated is, and with which pauses in seconds.

    Attributes:
        in_trouble: After a status 429, 502, 503 or 504; its `Retry-After` counts instead, up to 30.
        unreachable: After a connection that could not be made, or broke.
    """

    in_trouble: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0)
    unreachable: tuple[float, ...] = (0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Wait:
    """Send the same again after `seconds`."""

    seconds: float


class Exchange(Generic[T]):
    """The course of one call.

    Attributes:
        limit_bytes: How much of an answer is read at most.
    """

    def __init__(self, place: PlatformPlace, call: Call[T], patience: Patience) -> None:
        self._place = place
        self._call = call
        self._patience = patience if call.is_retried else Patience((), ())
        self._troubles = self._breaks = 0
        self.limit_bytes = call.limit_bytes

    def request(self) -> dict[str, Any]:
        """Return the arguments of httpx's `build_request`.

        Raises:
            InputError: when there is no key, and the call needs one.
        """
        call, place = self._call, self._place
        base = {
            "origin": place.api_url,
            "api": f"{place.api_url}/v2",
            "telemetry": place.telemetry_url,
            "runtime": place.api_url,
        }[call.service]
        # Not compressed: a short answer must not become a long one here.
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"hud/{__version__}",
        }
        if call.service != "origin":
            if not place.api_key:
                raise InputError("no key for the platform", hint="hud login, or set HUD_API_KEY")
            headers["Authorization"] = f"Bearer {place.api_key}"
        content = None
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            content = json.encode(call.body)
        return {
            "method": call.method,
            "url": f"{base}{call.path}",
            "params": list(call.query) or None,
            "headers": headers,
            "content": content,
            "timeout": httpx.Timeout(call.timeout_s, connect=min(call.timeout_s, 10.0)),
        }

    def answered(self, status: int, headers: Mapping[str, str], body: bytes | None) -> T | Wait:
        """Read an answer; `body` is None when it is longer than `limit_bytes`.

        Raises:
            PlatformError: for anything but success and what is worth another try.
        """
        self._warn_of_deprecation(headers)
        if status in (429, 502, 503, 504) and self._troubles < len(self._patience.in_trouble):
            pause = self._patience.in_trouble[self._troubles]
            asked = _seconds(headers.get("retry-after"))
            if asked is None or asked <= _LONGEST_WAIT_S:
                self._troubles += 1
                return Wait(pause if asked is None else asked)
        if body is None:
            megabytes = self.limit_bytes // (1024 * 1024)
            raise ReplyUnreadable(f"{self._who} answered with more than {megabytes} MiB")
        if not 200 <= status < 300:
            error = self._error(status, headers, body)
            error.kind = _kind(body[:_ERROR_LIMIT_BYTES])
            raise error
        return self._read(status, body)

    def failed(self, error: Exception) -> Wait:
        """Say what a failed attempt means: how long to wait, if it is worth another.

        Raises:
            PlatformError: when it is not.
        """
        if isinstance(error, httpx.TimeoutException) and not isinstance(
            error, httpx.ConnectTimeout
        ):
            raise PlatformUnreachable(
                f"{self._who} did not answer within {self._call.timeout_s:g} s"
            ) from error
        if isinstance(error, httpx.TransportError) and self._breaks < len(
            self._patience.unreachable
        ):
            self._breaks += 1
            return Wait(self._patience.unreachable[self._breaks - 1])
        why = redact(bounded(_ERRNO.sub("", str(error)) or type(error).__name__, 200))
        raise PlatformUnreachable(
            f"{self._who} cannot be reached: {why}",
            hint="is it up? HUD_API_URL says where it is",
        ) from error

    @property
    def _who(self) -> str:
        return f"the platform at {bounded(self._place.shown, 300)}"

    def _read(self, status: int, body: bytes) -> T:
        try:
            data: Any = {} if status == 204 or not body.strip() else json.decode(body)
        except ValueError as error:
            raise ReplyUnreadable(
                f"{self._who} does not answer {self._call.path} with JSON",
                hint="check HUD_API_URL",
                status=status,
            ) from error
        kind = self._call.reply
        if not issubclass(kind, BaseModel):
            return cast("T", data)
        try:
            return cast("T", kind.model_validate(data))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the reply"
            raise ReplyUnreadable(
                f"{self._who} does not answer {self._call.path} as a platform does: "
                f"{bounded(where)}: {first['msg']}",
                hint="check HUD_API_URL",
                status=status,
            ) from error

    def _error(self, status: int, headers: Mapping[str, str], body: bytes) -> PlatformError:
        who = self._who
        detail, hint = _told(body[:_ERROR_LIMIT_BYTES])
        said = f": {detail}" if detail else f" (status {status})"
        if 300 <= status < 400:
            to = redact(bounded(headers.get("location", "somewhere else"), 200))
            return ReplyUnreadable(
                f"{who} points to {to} instead of answering",
                hint="give that address itself as HUD_API_URL",
                status=status,
            )
        match status:
            case 401:
                hint = "check HUD_API_KEY, or sign in again: hud login"
                return KeyRefused(f"{who} refused the key{said}", hint=hint, status=status)
            case 402:
                hint = hint or "its billing page says what is left"
                return OutOfCredits(f"{who} wants to be paid{said}", hint=hint, status=status)
            case 403:
                is_plan = any(word in detail.lower() for word in _PLAN_WORDS)
                hint = hint or (
                    "this needs another plan there"
                    if is_plan
                    else "another key may do this; check HUD_API_KEY"
                )
                return KeyRefused(f"{who} does not allow this{said}", hint=hint, status=status)
            case 404 | 405:
                what = detail or f"it knows no {self._call.method} {self._call.path}"
                return NotOnPlatform(f"{who} says: {what}", hint=hint, status=status)
            case 429:
                hint = hint or "wait a little, then try again"
                return PlatformBusy(f"{who} asks for patience{said}", hint=hint, status=status)
            case _ if status < 500:
                return PlatformRefused(f"{who} refused this{said}", hint=hint, status=status)
            case _:
                return PlatformUnreachable(f"{who} is in trouble{said}", hint=hint, status=status)

    def _warn_of_deprecation(self, headers: Mapping[str, str]) -> None:
        told = headers.get("deprecation") or headers.get("sunset")
        path = self._call.path.split("/")[1]
        if told and path not in _warned:
            _warned.add(path)
            logger.warning(
                "%s announces that it will stop serving /%s (%s)", self._who, path, bounded(told)
            )


def _kind(body: bytes) -> str | None:
    """Return the short name of an error: `error`, at the top or inside `detail`."""
    try:
        data: Any = json.decode(body)
    except ValueError:
        return None
    for _ in range(2):
        if not isinstance(data, dict):
            return None
        held = cast("dict[str, Any]", data)
        if isinstance(held.get("error"), str):
            return held["error"]
        data = held.get("detail")
    return None


def _told(body: bytes) -> tuple[str, str | None]:
    """Return what an error's body says, and its hint."""
    try:
        data = json.decode(body)
    except ValueError:
        return "", None
    if not isinstance(data, dict):
        return "", None
    held = cast("dict[str, Any]", data)
    detail, hint = held.get("detail", held.get("error")), held.get("hint")
    if detail is None:
        return "", None
    text = detail if isinstance(detail, str) else json.encode(detail).decode()
    return redact(bounded(text, _DETAIL_CHARS)), redact(hint) if isinstance(hint, str) else None


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value >= 0 else None


def is_final(error: HudError) -> bool:
    """Tell whether trying later is no use: what was sent, or the key, is not accepted."""
    return not (isinstance(error, PlatformError) and error.may_pass)
