"""What one server process holds open: the store, the database, keys and secrets, one owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from fastapi import Request

from hud.platform.accounts.teams import ensure_first_owner
from hud.platform.config import PlatformConfig
from hud.platform.database import Database
from hud.platform.identity import Keyring
from hud.platform.secrets import SecretBox
from hud.store import Store, open_store


@dataclass(slots=True)
class Services:
    """Everything a route may need; `close` lets go of it.

    Attributes:
        owner_id: The person who runs an embedded platform.
    """

    config: PlatformConfig
    store: Store
    database: Database
    keyring: Keyring
    secrets: SecretBox
    owner_id: str

    @classmethod
    def open(cls, config: PlatformConfig) -> Self:
        """Open the store, migrating it when it is old; blocks.

        Raises:
            StoreError: when it cannot be used.
        """
        store = open_store(config.home, database=config.database, blobs=config.blobs)
        try:
            database = Database(config.home, config.database)
            owner_id = ensure_first_owner(database)
        except BaseException:
            store.close()
            raise
        secrets = SecretBox(config.home)
        return cls(config, store, database, Keyring(database, secrets), secrets, owner_id)

    def close(self) -> None:
        """Make everything durable and let go of it; safe to call twice.

        Raises:
            StoreError: when something could not be written.
        """
        try:
            self.store.close()
        finally:
            self.database.close()


def services_of(request: Request) -> Services:
    """Return the services of the app that `request` came to."""
    return request.app.state.services
