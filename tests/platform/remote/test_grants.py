"""A run asks models as its person may, and no longer than that person may."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from hud.platform.accounts import keys, teams
from hud.platform.database import Database, now_us
from hud.platform.errors import ApiError
from hud.platform.identity import Keyring
from hud.platform.rollouts import grants
from hud.platform.secrets import SecretBox
from tests.platform.server import prepare


def test_a_person_who_may_only_look_by_now_asks_no_model_through_a_run(tmp_path: Path) -> None:
    home = tmp_path / "home"
    prepare(home)
    box = SecretBox(home)
    with contextlib.closing(Database(home)) as database:
        with database.writing() as connection:
            teams.make_team(connection, "ours")
            user = teams.add_user(connection, "Ada")
            teams.set_role(connection, "ours", user, "member")
            key, _ = keys.create_key(connection, team="ours", user_id=user, name="k")
        run = grants.seal(box, grants.Grant("ours", user, key.id, now_us() + 60_000_000))
        assert Keyring(database, box).by_key(run).scopes == ("inference",)
        with database.writing() as connection:
            teams.set_role(connection, "ours", user, "viewer")
        assert Keyring(database, box).by_key(run).scopes == ()
        with database.writing() as connection:
            keys.revoke_key(connection, "ours", key.id)
        with pytest.raises(ApiError, match="revoked"):
            Keyring(database, box).by_key(run)
