"""Thin re-exports of the settings, where users import them from."""

from typing import TYPE_CHECKING, Any

from hud._core.settings import Settings, get_settings, save_setting

if TYPE_CHECKING:
    settings: Settings

__all__ = ["Settings", "get_settings", "save_setting", "settings"]


def __getattr__(name: str) -> Any:
    if name == "settings":
        return get_settings()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
