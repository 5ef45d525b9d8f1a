"""The tables of people and keys, by name."""

from __future__ import annotations

from hud.store.schema import metadata

teams = metadata.tables["teams"]
users = metadata.tables["users"]
members = metadata.tables["members"]
api_keys = metadata.tables["api_keys"]
sign_ins = metadata.tables["sign_ins"]
sessions = metadata.tables["sessions"]
audit = metadata.tables["audit"]
