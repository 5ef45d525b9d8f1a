"""How a program gets its work and hands back its result: one JSON object each way."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def read(kind: type[T]) -> T:
    """Return the work named by the first argument."""
    return kind(**json.loads(sys.argv[1]))


def write(result: Mapping[str, Any]) -> None:
    """Print the result as the last line."""
    sys.stdout.write("\n" + json.dumps(dict(result)) + "\n")
