"""The tables of the gateway, by name."""

from __future__ import annotations

from hud.store.schema import metadata

providers = metadata.tables["providers"]
models = metadata.tables["models"]
usage = metadata.tables["usage"]
budgets = metadata.tables["budgets"]
runs = metadata.tables["runs"]
