"""Text for people: numbers, times and untrusted strings as they are shown.

Whatever a trace or an error holds was written by somebody else, so it reaches a terminal with its
control characters made visible. Columns are `tables`, a trace's turns `turns`.
"""

from __future__ import annotations

import math
import re
import time

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
_SPACES = re.compile(r"\s+")

NOT_AVAILABLE = "n/a"


def safe(text: str) -> str:
    """Return `text` with every control character but newline and tab spelled out."""
    return _CONTROL.sub(_spelled, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return `text` safe, on one line."""
    return safe(_SPACES.sub(" ", text).strip())


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number, `n/a` for None and NaN."""
    if value is None or math.isnan(value):
        return NOT_AVAILABLE
    return f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Return a share as percent."""
    return NOT_AVAILABLE if value is None else f"{100 * value:.1f} %"


def count(value: int, noun: str, plural: str | None = None) -> str:
    """Return `1 task`, `2 tasks`."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def seconds(value: float | None) -> str:
    """Return a duration: `0.31 s`, `12.4 s`, `3 m 20 s`, `2 h 05 m`."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    if value < 1:
        return f"{max(value, 0):.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def clock(micros: int | None) -> str:
    """Return a time of the store in this machine's zone: `2026-11-20 22:14`."""
    if micros is None:
        return NOT_AVAILABLE
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(micros / 1e6))


def cost(known_usd: float | None, unpriced_turns: int) -> str:
    """Return what turns cost, and how much of that is unknown: `≥ $1.20 (3 turns of …)`."""
    if not unpriced_turns:
        return money(known_usd)
    unknown = f"({count(unpriced_turns, 'turn')} of unknown price)"
    return f"≥ {money(known_usd)} {unknown}" if known_usd else f"{NOT_AVAILABLE} {unknown}"


def money(value: float | None) -> str:
    """Return a cost in US dollars."""
    if value is None:
        return NOT_AVAILABLE
    return f"${value:.2f}" if value >= 1 else f"${value:.4f}"
