"""Log messages on stderr: one line each, secrets removed, terminal escapes made visible."""

from __future__ import annotations

import logging
import sys

_LEVELS = {0: logging.WARNING, 1: logging.INFO}
# What these log of a connection that broke or ended, the run it belongs to says in a sentence.
_TOLD_ELSEWHERE = ("mcp",)


class LogLine(logging.Formatter):
    """Format a record as one line that is safe to show; a traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        from hud._core.redact import redact
        from hud.cli.render import one_line, safe

        text = f"{record.levelname.lower()}: {one_line(redact(record.getMessage()))}"
        if record.exc_info and logging.getLogger("hud").level <= logging.DEBUG:
            text += "\n" + safe(redact(self.formatException(record.exc_info)))
        return text


def configure(verbosity: int) -> None:
    """Show warnings; from 1 on also what happens, from 2 on everything, libraries included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("hud").setLevel(_LEVELS.get(verbosity, logging.DEBUG))
    for name in _TOLD_ELSEWHERE:
        level = logging.NOTSET if verbosity >= 2 else logging.CRITICAL
        logging.getLogger(name).setLevel(level)
