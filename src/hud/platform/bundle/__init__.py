"""One job as a folder of files that any static host serves: the web UI with what it would ask for.

The pages are the ones a server gives; `ui/src/bundle/` answers them from these files. Nothing here
starts a server, and nothing in a bundle ever changes.
"""

from __future__ import annotations

from hud.platform.bundle.writing import Bundle, write_bundle

__all__ = ["Bundle", "write_bundle"]
