"""Secrets at rest: encrypted with a key that is in no database and no backup.

The key is `HUD_SECRET_KEY`, or a file of mode 0600 under the platform's home, made when first
needed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from hud._core.errors import InputError, StoreError
from hud._core.redact import register_secret

KEY_FILE = "secret.key"
_SHORTEST = 16


class SecretBox:
    """Encrypts and decrypts short texts. The key is read at the first use."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._fernet: Fernet | None = None

    def encrypt(self, secret: str) -> str:
        """Return `secret` encrypted, as text.

        Raises:
            StoreError: when there is no key and none can be made.
        """
        return self._key(make=True).encrypt(secret.encode()).decode()

    def decrypt(self, text: str) -> str:
        """Return what was encrypted.

        Raises:
            StoreError: when it was encrypted with another key.
        """
        try:
            return self._key(make=False).decrypt(text.encode()).decode()
        except InvalidToken:
            raise StoreError(
                "a secret of the platform was encrypted with another key",
                hint=f"set HUD_SECRET_KEY, or bring back {KEY_FILE}; "
                "or give the provider's key again: hud providers add",
            ) from None

    def _key(self, *, make: bool) -> Fernet:
        if self._fernet is None:
            text = os.environ.get("HUD_SECRET_KEY", "").strip()
            if text and len(text) < _SHORTEST:
                raise InputError(
                    f"HUD_SECRET_KEY is shorter than {_SHORTEST} characters",
                    hint="a good one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
                )
            text = text or self._read(make=make)
            register_secret(text)
            digest = hashlib.sha256(b"hud secret box\0" + text.encode()).digest()
            self._fernet = Fernet(base64.urlsafe_b64encode(digest))
        return self._fernet

    def _read(self, *, make: bool) -> str:
        path = self._home / KEY_FILE
        try:
            if make and not path.exists():
                _write_once(path, secrets.token_urlsafe(32))
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise StoreError(
                f"the key that secrets were encrypted with, {path}, is missing",
                hint="bring it back, or set HUD_SECRET_KEY",
            ) from None
        except OSError as error:
            raise StoreError(f"the key file {path} cannot be used: {error.strerror}") from error


def _write_once(path: Path, text: str) -> None:
    """Write a new file of mode 0600; of several that try at once, the first is kept."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".key-")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
