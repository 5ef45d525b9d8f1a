"""Thin re-exports of tracing names, where users import them from."""

from hud.trace.instrument import instrument

__all__ = ["instrument"]
