"""What can go wrong inside a browser, as errors an agent may be shown.

None of them is a fault: a page that fails is part of the world the agent acts on. A browser that
cannot be reached any more is `CapabilityFault`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from hud._core.errors import HudError, bounded


class CDPError(HudError):
    """The browser, or a page in it, refused or failed what it was asked.

    Attributes:
        cdp_code: The protocol's own error number, or None.
    """

    code: ClassVar[str] = "browser_page"

    def __init__(
        self, message: str = "", *, hint: str | None = None, cdp_code: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.cdp_code = cdp_code

    @classmethod
    def from_reply(cls, method: str, error: Mapping[str, Any]) -> CDPError:
        """Read the `error` object of a reply."""
        code = error.get("code")
        text = bounded(str(error.get("message") or "no reason given"), 1_000)
        data = error.get("data")
        more = f" ({bounded(data, 500)})" if isinstance(data, str) and data else ""
        return cls(f"{method}: {text}{more}", cdp_code=code if isinstance(code, int) else None)


class JavaScriptError(CDPError):
    """A script that was evaluated in the page raised."""

    code: ClassVar[str] = "browser_script"


class NavigationError(CDPError):
    """A page could not be loaded."""

    code: ClassVar[str] = "browser_navigation"


class DialogOpen(CDPError):
    """A dialog of the page is open, and what was asked must wait until it is answered."""

    code: ClassVar[str] = "browser_dialog"


class PageGone(CDPError):
    """The tab was closed or crashed while it was asked something."""

    code: ClassVar[str] = "browser_tab"
