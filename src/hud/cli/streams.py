"""Where output goes: data to the real stdout, everything else, user code included, to stderr.

What the data looks like belongs to `render` and `tables`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Generator
from io import TextIOWrapper
from typing import Any

# JSON leaves these as they are, but a terminal may act on them: C1 controls and bidi overrides.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_data: TextIOWrapper | None = None


def guard_stdout() -> None:
    """Point file descriptor 1 at stderr from now on; `write` still reaches the real stdout.

    Whatever user code prints, in this process or a child of it, can then not corrupt the data.
    """
    global _data  # noqa: PLW0603 -- one process has one stdout
    if _data is None:
        sys.stdout.flush()
        real = os.dup(1)
        os.set_inheritable(real, False)
        _point(1, 2)
        _data = TextIOWrapper(
            os.fdopen(real, "wb"), encoding="utf-8", errors="backslashreplace", newline="\n"
        )


@contextlib.contextmanager
def user_code_on_stderr() -> Generator[None]:
    """Point file descriptor 1 at stderr while the block runs."""
    sys.stdout.flush()
    real = os.dup(1)
    _point(1, 2)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


def _point(descriptor: int, at: int) -> None:
    try:
        os.dup2(at, descriptor)
    except OSError:  # stderr is closed
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)


def write(text: str) -> None:
    """Write data to stdout at once, with a final newline.

    Raises:
        BrokenPipeError: when whoever read stdout is gone.
    """
    stream = _data or sys.stdout
    if _data is None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text if text.endswith("\n") else f"{text}\n")
    stream.flush()


def write_json(value: Any) -> None:
    """Write `value` to stdout as one JSON document (NaN as null), safe to show on a terminal."""
    import msgspec

    from hud._core import json

    indented = msgspec.json.format(json.encode(value), indent=2).decode()
    write(_UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", indented))


def note(text: str = "") -> None:
    """Say something on stderr; a reader who is gone is nobody's loss."""
    with contextlib.suppress(OSError, ValueError):
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stderr.flush()


def discard_stdout() -> None:
    """Let nothing more be written to a stdout whose reader is gone, so that exiting is quiet."""
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in {1, _data.fileno() if _data is not None else 1}:
        os.dup2(null, descriptor)
    os.close(null)


def width_of(stream: Any) -> int | None:
    """Return the columns of the terminal behind `stream`, None when there is none."""
    try:
        if not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return None


def stdout_width() -> int | None:
    """Return the columns of the terminal that data goes to, None when it is none."""
    return width_of(_data or sys.stdout)
