"""What a page's alert, confirm, prompt and leave-this-page boxes said, and who answers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hud._core.errors import bounded

DialogPolicy = Literal["dismiss", "accept", "manual"]
"""Who answers a dialog.

`dismiss` cancels it at once, except that leaving a page is allowed; `accept` confirms it, a
prompt with its own default text; `manual` leaves it open for `answer_dialog`.
"""

RECORDED = 100
_TEXT_LIMIT = 2_000


@dataclass(slots=True)
class Dialog:
    """One dialog a page opened.

    Attributes:
        kind: `alert`, `confirm`, `prompt` or `beforeunload`.
        message: What it says, cut to 2,000 characters.
        default_text: What a prompt's field holds at first.
        url: The address of the page that opened it.
        accepted: How it was answered, or None while it is open.
    """

    kind: str
    message: str
    default_text: str
    url: str
    accepted: bool | None = None


def dialog_of(params: dict[str, object]) -> Dialog:
    """Read a `Page.javascriptDialogOpening` event."""
    kind, message, default, url = (
        bounded(str(params.get(key) or ""), _TEXT_LIMIT)
        for key in ("type", "message", "defaultPrompt", "url")
    )
    return Dialog(kind, message, default, url)


def accepts(policy: DialogPolicy, dialog: Dialog) -> bool:
    """Return how a policy other than `manual` answers."""
    return policy == "accept" or dialog.kind in {"beforeunload", "alert"}
