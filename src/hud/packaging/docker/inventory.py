"""Command line of `python -m hud.packaging.docker.inventory`: say what an image's source offers.

Run in a container of the image, without a network, when it has just been built; the answer is one
JSON line on the descriptor that was standard output.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hud._core import json
from hud._core.errors import HudError
from hud.packaging.describe import described


def main(target: str, name: str) -> int:
    """Write the description; what the source prints goes to standard error."""
    answer = os.dup(1)
    os.dup2(2, 1)
    try:
        said = described(target, name or None, str(Path.cwd()))
        said["python"] = f"{sys.version_info.major}.{sys.version_info.minor}"
    except HudError as error:
        said = {"error": error.message, "hint": error.hint}
    with os.fdopen(answer, "wb") as file:
        file.write(json.encode(said) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
