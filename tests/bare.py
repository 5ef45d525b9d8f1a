"""No setting, key or proxy of this machine reaches a test that asks models."""

from __future__ import annotations

import pytest

from hud._core.settings import Settings

_OTHERS = (
    *("HUD_MODEL_CACHE", "HUD_MODEL_CONCURRENCY", "HUD_MODELS_FILE"),
    *("GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE"),
)


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take them out of the environment."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    for name in _OTHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
