"""What can go wrong between a client and a platform, one class per thing to do about it."""

from __future__ import annotations

from typing import ClassVar

from hud._core.errors import HudError


class PlatformError(HudError):
    """The platform could not be asked, or did not do what it was asked.

    Attributes:
        status: The HTTP status of its answer; None where there was none.
        kind: The short name of the error in its answer, as of a sign-in; None where it has none.
        may_pass: Whether the same may work later.
    """

    code: ClassVar[str] = "platform"
    may_pass: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.kind: str | None = None


class PlatformUnreachable(PlatformError):
    """Nothing answered, or what answered is in trouble."""

    code: ClassVar[str] = "platform_unreachable"
    may_pass: ClassVar[bool] = True


class PlatformBusy(PlatformUnreachable):
    """It asked for patience (status 429), for longer than was waited."""

    code: ClassVar[str] = "platform_busy"


class KeyRefused(PlatformError):
    """It does not know the key, or the key may not do this (status 401 or 403)."""

    code: ClassVar[str] = "key_refused"
    exit_code = 2


class OutOfCredits(PlatformError):
    """Nothing is left to pay for it (status 402)."""

    code: ClassVar[str] = "out_of_credits"


class NotOnPlatform(PlatformError):
    """There is no such thing there (status 404), or nothing answers such calls."""

    code: ClassVar[str] = "not_on_platform"
    exit_code = 2


class PlatformRefused(PlatformError):
    """It does not accept what was sent (any other status from 400 to 499)."""

    code: ClassVar[str] = "platform_refused"
    exit_code = 2


class ReplyUnreadable(PlatformError):
    """It answered something a platform does not answer."""

    code: ClassVar[str] = "platform_reply"
