"""Looking after a store: its state, its backups, and the blobs that nobody refers to any more."""

from __future__ import annotations

from hud.store.upkeep.backup import Backup, back_up, restore
from hud.store.upkeep.garbage import GRACE_S, Collected, collect_garbage
from hud.store.upkeep.state import StoreState, migrate, read_state

__all__ = [
    "GRACE_S",
    "Backup",
    "Collected",
    "StoreState",
    "back_up",
    "collect_garbage",
    "migrate",
    "read_state",
    "restore",
]
