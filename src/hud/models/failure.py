"""What a failed model call means: whether to try again, and in one sentence without the key.

The clients of the dialects read their SDK's exceptions into `CallFailure`; this module knows no
SDK.
"""

from __future__ import annotations

import contextlib
import email.utils
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from hud._core import json
from hud._core.errors import ModelFault, bounded
from hud._core.redact import redact
from hud.models.endpoint import Endpoint

_OVERFLOW_CODES = {
    "context_length_exceeded",
    "context_window_exceeded",
    "prompt_too_long",
    "request_too_large",
}
_OVERFLOW_WORDS = (
    "maximum context length",
    "context length exceeded",
    "context window",
    "prompt is too long",
    "exceed context limit",
    "too much media",
    "input token count",
    "request payload size exceeds",
)
# Google answers a key it does not know with status 400.
_KEY_CODES = {"API_KEY_INVALID", "API_KEY_EXPIRED"}
_RETRY_STATUS = {408, 409, 429, 500, 502, 503, 504, 529}
_LONGEST_RETRY_AFTER_S = 3600.0
_HINTS = {
    401: "check the key: {key}",
    403: "the key has no right to this model: check {key}",
    404: "check the model's name, and the address{v1}",
    429: "the rate or quota is used up: run fewer at once (--max-concurrent), or wait",
}

FailureKind = Literal["status", "unreachable", "timeout", "cut", "other"]


class ContextOverflow(ModelFault):
    """The conversation does not fit the model's context."""


@dataclass(frozen=True, slots=True)
class CallFailure:
    """One failed attempt at a call.

    Attributes:
        kind: `status` for an error the API answered, `cut` for a reply that broke off.
        retry_after_s: How long the API asks to wait, in seconds.
    """

    kind: FailureKind
    detail: str
    status: int | None = None
    code: str | None = None
    retry_after_s: float | None = None

    @property
    def is_overflow(self) -> bool:
        """Whether the request was refused because it does not fit the model's context."""
        if self.kind != "status" or self.status not in (400, 413, 422):
            return False
        if self.status == 413:
            return True
        text = self.detail.lower()
        return self.code in _OVERFLOW_CODES or any(words in text for words in _OVERFLOW_WORDS)

    @property
    def is_overload(self) -> bool:
        """Whether the API said that it is asked too much."""
        return self.status in (429, 503, 529) and self.code != "insufficient_quota"

    @property
    def may_pass(self) -> bool:
        """Whether trying the same again makes sense."""
        if self.code == "insufficient_quota":
            return False
        return self.kind in ("unreachable", "timeout", "cut") or self.status in _RETRY_STATUS

    def fault(self, endpoint: Endpoint, model: str) -> ModelFault:
        """Return what the failure means to who runs the agent, without the key."""
        fault = self._fault(endpoint, model)
        key = endpoint.api_key
        if len(key) >= 4 and key in fault.message:
            fault = type(fault)(fault.message.replace(key, "[redacted]"), hint=fault.hint)
        fault.may_pass = self.may_pass
        return fault

    def _fault(self, endpoint: Endpoint, model: str) -> ModelFault:
        where = f"the model API at {endpoint.shown}"
        match self.kind:
            case "timeout":
                return ModelFault(f"{where} did not answer in time")
            case "cut":
                return ModelFault(f"{where} broke off before its answer was whole: {self.detail}")
            case "unreachable":
                return ModelFault(
                    f"{where} cannot be reached: {self.detail}",
                    hint="is it running? the address is base_url, or the provider's variable",
                )
            case "status":
                kind = ContextOverflow if self.is_overflow else ModelFault
                hint = _HINTS.get(401 if self.code in _KEY_CODES else self.status or 0)
                key = endpoint.key_variable or "OPENAI_API_KEY"
                has_v1 = endpoint.provider not in (None, "openai") or endpoint.is_gateway
                v1 = "" if has_v1 else ": base_url usually ends with /v1"
                return kind(
                    f"{where} answered status {self.status} for model {model!r}: {self.detail}",
                    hint=hint.format(key=f"{key}, or --config api_key=…", v1=v1) if hint else None,
                )
            case _:
                return ModelFault(f"{where} failed for model {model!r}: {self.detail}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how long a reply asks to wait, in seconds: `retry-after-ms`, or `Retry-After` as seconds
    or as a date (RFC 9110).
    """
    with contextlib.suppress(ValueError):
        return _waiting(float(headers.get("retry-after-ms") or "") / 1000)
    value = headers.get("retry-after") or ""
    with contextlib.suppress(ValueError):
        return _waiting(float(value))
    with contextlib.suppress(ValueError, TypeError):
        return _waiting(email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _waiting(seconds: float) -> float | None:
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S) if seconds == seconds else None


def plain_reason(error: BaseException) -> str:
    """Return the innermost plain cause of a connection error."""
    reason = ""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, BaseExceptionGroup):
            seen = cast("BaseExceptionGroup[BaseException]", seen).exceptions[0]
            continue
        if isinstance(seen, OSError) and seen.errno:
            reason = os.strerror(seen.errno) if seen.errno > 0 else str(seen.strerror)
        elif seen is not error and str(seen):
            reason = reason or str(seen)
        seen = seen.__cause__ or seen.__context__
    return excerpt(reason or "the connection broke")


def excerpt(value: Any) -> str:
    """Return a short, redacted piece of a reply for a message."""
    if isinstance(value, bytes):
        value = value[:2_000].decode("utf-8", "replace")
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        inner = held.get("error")
        if isinstance(inner, dict):
            held = cast("dict[str, Any]", inner)
        value = held.get("message") or held
    text = value if isinstance(value, str) else json.encode(value).decode()
    if text.lstrip()[:1] == "<":
        return "an HTML page"
    return bounded(" ".join(redact(text).split()), 300) or "an empty body"
