"""`RFBClient`: look at a screen and work its pointer, keyboard and clipboard over VNC."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hud._core.errors import InputError

if TYPE_CHECKING:
    from hud.capabilities.rfb.client import RFBClient
    from hud.capabilities.rfb.errors import RFBError
    from hud.capabilities.rfb.picture import Screenshot
    from hud.capabilities.screenshots import (
        PngScreenshotEncoding,
        ScreenshotEncoding,
        ScreenshotMimeType,
        WebPScreenshotEncoding,
    )

_HOMES = {
    "PngScreenshotEncoding": "hud.capabilities.screenshots",
    "RFBClient": "hud.capabilities.rfb.client",
    "RFBError": "hud.capabilities.rfb.errors",
    "Screenshot": "hud.capabilities.rfb.picture",
    "ScreenshotEncoding": "hud.capabilities.screenshots",
    "ScreenshotMimeType": "hud.capabilities.screenshots",
    "WebPScreenshotEncoding": "hud.capabilities.screenshots",
}

__all__ = [
    "PngScreenshotEncoding",
    "RFBClient",
    "RFBError",
    "Screenshot",
    "ScreenshotEncoding",
    "ScreenshotMimeType",
    "WebPScreenshotEncoding",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hud.capabilities.rfb' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("hud"):
            raise
        raise InputError(
            f"hud.capabilities.rfb needs the Python package {error.name}",
            hint="pip install 'hud-python[rfb]'",
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
