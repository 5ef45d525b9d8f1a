"""What was moved out of steps: screens, films, long texts, each a file named by its hash.

Its ending never makes a host name it as a page or a script: only sounds and films, which some
browsers play by their type alone, have one of their own.
"""

from __future__ import annotations

import re

from hud._core.errors import InputError, NotFound
from hud.platform.bundle.folder import Folder
from hud.store import Store

# A key that only looks like a reference was escaped when it was recorded: it begins with two.
_REFERENCE = re.compile(rb'"\$blob":"([0-9a-f]{64})"')
_PLAYED = {
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/ogg": "ogv",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/ogg": "oga",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "audio/flac": "flac",
    "audio/aac": "aac",
}
_PLAIN = "bin"


class Media:
    """Copies each blob once."""

    def __init__(self, store: Store, team: str, folder: Folder) -> None:
        self._store = store
        self._team = team
        self._folder = folder
        self._seen: set[bytes] = set()
        self.count = 0

    def copy_from(self, document: bytes) -> None:
        """Copy what a JSON document refers to; what is not there any more is left out."""
        for sha256 in _REFERENCE.findall(document):
            if sha256 not in self._seen:
                self._seen.add(sha256)
                self._copy(sha256.decode())

    def _copy(self, sha256: str) -> None:
        try:
            blob = self._store.find_blob(sha256, team=self._team)
            content = self._store.read_blob(sha256, team=self._team)
        except (InputError, NotFound):
            return
        ending = _PLAYED.get(blob.media_type, _PLAIN)
        self._folder.write(f"data/blobs/{sha256[:2]}/{sha256}.{ending}", content)
        self.count += 1
