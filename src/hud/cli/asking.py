"""Questions that a command asks before it goes on, where somebody is there to answer them."""

from __future__ import annotations

import sys

from hud._core.errors import InputError


def can_ask() -> bool:
    """Tell whether somebody sees a question and can answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def asked(question: str) -> bool:
    """Ask, and tell whether the answer is yes."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def confirm(question: str, *, otherwise: str) -> None:
    """Ask when somebody is there to answer; go on when nobody is.

    Args:
        question: One line, without what might move a terminal's cursor.
        otherwise: What an answer that is not yes has led to.

    Raises:
        InputError: when the answer is not yes.
    """
    if can_ask() and not asked(question):
        raise InputError(otherwise, hint="answer y, or give --yes")
