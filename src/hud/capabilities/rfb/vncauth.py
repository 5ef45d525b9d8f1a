"""The answer to a VNC server's password challenge (RFC 6143 §7.2.2)."""

from __future__ import annotations

from hud._core.errors import InputError

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def answer(password: str, challenge: bytes) -> bytes:
    """Encrypt the challenge with DES under the password's first eight bytes, bits mirrored.

    Raises:
        InputError: when the package for it is not installed.
    """
    key = password.encode()[:8].ljust(8, b"\0").translate(_MIRRORED)
    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
        from cryptography.hazmat.primitives.ciphers import Cipher, modes
    except ModuleNotFoundError as error:
        raise InputError(
            "a VNC password needs the Python package cryptography",
            hint="pip install 'hud-python[rfb]'",
        ) from error
    # DES is triple DES with the same key three times; ECB is what the protocol says.
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()
