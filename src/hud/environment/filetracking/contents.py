"""What is inside a file: text that may be shown, or a hash and the reason why nothing more.

Former texts are kept here within a limit, for diffs; finding out which files changed is `scan`.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections import OrderedDict
from dataclasses import dataclass

from hud._core.errors import HudError
from hud._core.redact import is_suspect, redact
from hud.sandbox.files import open_plain, read_limited
from hud.trace.file_steps import Withheld

TEXT_BYTES = 256 * 1024
HASHED_BYTES = 8 * 1024 * 1024
KEPT_CHARS = 32 * 1024 * 1024

SECRET_NAMES = (
    ".env",
    ".env.*",
    "*.env",
    ".envrc",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ppk",
    "credentials",
    "credentials.*",
    "secrets.*",
    ".git-credentials",
    ".htpasswd",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
)
_secret_name = re.compile("|".join(fnmatch.translate(name) for name in SECRET_NAMES))


@dataclass(frozen=True, slots=True)
class Content:
    """A file's content: `text` when it may be shown, else why not. `digest` is SHA-256 in hex."""

    text: str | None
    digest: str | None
    withheld: Withheld | None


def read_content(folder: int, name: str, size: int, owner: int) -> Content:
    """Look into the plain file `name` of the folder `folder`.

    A file that is replaced or grows meanwhile is looked at again next time, since its times change.
    """
    if size > HASHED_BYTES:
        return Content(None, None, "too_large")
    try:
        descriptor = open_plain(folder, name, owner=owner)
    except (OSError, HudError):
        return Content(None, None, "special")
    try:
        data = read_limited(descriptor, HASHED_BYTES, name)
    except (OSError, HudError):
        return Content(None, None, "too_large")
    finally:
        os.close(descriptor)
    return judge(name, data)


def judge(name: str, data: bytes) -> Content:
    """Decide what of a file may be shown."""
    digest = hashlib.sha256(data).hexdigest()
    if _secret_name.fullmatch(name.lower()):
        return Content(None, digest, "secret")
    if b"\0" in data:
        return Content(None, digest, "binary")
    if len(data) > TEXT_BYTES:
        return Content(None, digest, "too_large")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Content(None, digest, "binary")
    # The quick look may be wrong about what is clean ("task-1" has the beginning of a key in it).
    if is_suspect(text) and redact(text) != text:
        return Content(None, digest, "secret")
    return Content(text, digest, None)


class Texts:
    """Former texts by path. The ones that went longest without a change make room first."""

    def __init__(self, max_chars: int = KEPT_CHARS) -> None:
        self._max_chars = max_chars
        self._held: OrderedDict[str, str] = OrderedDict()
        self._chars = 0

    @property
    def is_full(self) -> bool:
        return self._chars >= self._max_chars

    def get(self, path: str) -> str | None:
        return self._held.get(path)

    def put(self, path: str, text: str | None) -> None:
        """Keep a file's text; None is a file that has none any more."""
        former = self._held.pop(path, None)
        if former is not None:
            self._chars -= len(former)
        if text is None:
            return
        self._held[path] = text
        self._chars += len(text)
        while self._chars > self._max_chars:
            _, dropped = self._held.popitem(last=False)
            self._chars -= len(dropped)
