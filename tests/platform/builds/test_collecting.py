"""Old builds are removed; what is run, lent, wanted or somebody's own of late is not."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from hud._core.ids import new_id
from hud.platform.builds.collecting import DAY_S, Collected, collect_builds
from hud.platform.database import Database
from hud.platform.registry import tables
from hud.store.schema import metadata
from tests.platform.registry.known import know
from tests.platform.remote.asking import NOOP
from tests.platform.server import Server, prepare, running

MONTH_S = 30 * DAY_S
OLD_S, YOUNG_S = 40 * DAY_S, DAY_S
KILOBYTES = 64


@dataclass
class Home:
    """The home of a platform that is not up, with bundles in it."""

    path: Path
    database: Database
    ages: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def store(self) -> Path:
        return self.path / "bundles"

    def bundle(self, age_s: float = OLD_S) -> str:
        """Put a bundle there that was last used so long ago; return its address."""
        address = new_id() * 2
        folder = self.store / address
        (folder / "source").mkdir(parents=True)
        (folder / "source" / "data").write_bytes(os.urandom(KILOBYTES * 1024))
        used = time.time() - age_s
        os.utime(folder, (used, used))
        (self.store / f".built-{new_id()}").write_text(address)
        return address

    def environment(self, *bundles: str, current: int, ago_s: float = OLD_S) -> list[str]:
        """Keep an environment whose versions are these; return the ids of the builds."""
        environment, changed = new_id(), _ago(ago_s)
        with self.database.writing() as connection:
            row = {"team": "local", "id": environment, "name": f"env-{environment[:6]}"}
            connection.execute(
                insert(tables.environments).values(
                    **row, latest_version=current, created_at=changed, updated_at=changed
                )
            )
            return [
                self._build(connection, environment, version, address, changed)
                for version, address in enumerate(bundles, 1)
            ]

    @staticmethod
    def _build(connection: Any, environment: str, version: int, address: str, at: int) -> str:
        build = new_id()
        connection.execute(
            insert(tables.builds).values(
                team="local",
                id=build,
                environment_id=environment,
                version=version,
                status="SUCCEEDED",
                uri=f"bundle:{address}",
                created_at=at,
                ended_at=at,
            )
        )
        return build

    def ended(self, build: str, ago_s: float) -> None:
        """Say when a build ended."""
        with self.database.writing() as connection:
            connection.execute(
                update(tables.builds)
                .where(tables.builds.c.id == build)
                .values(ended_at=_ago(ago_s))
            )

    def lease(self, build: str, state: str) -> None:
        """Keep that a build is lent."""
        now = _ago(0)
        with self.database.writing() as connection:
            connection.execute(
                insert(metadata.tables["leases"]).values(
                    team="local",
                    id=new_id(),
                    environment="e",
                    build_id=build,
                    user_id=new_id(),
                    server=new_id(),
                    state=state,
                    created_at=now,
                    heard_at=now,
                )
            )

    def works(self) -> None:
        """Keep that the team has a rollout under way."""
        now = _ago(0)
        with self.database.writing() as connection:
            connection.execute(
                insert(metadata.tables["rollout_queue"]).values(
                    team="local",
                    id=new_id(),
                    job_id=new_id(),
                    state="leased",
                    spec="{}",
                    user_id=new_id(),
                    attempt=1,
                    lease=new_id(),
                    created_at=now,
                    not_before=now,
                )
            )

    async def collect(self, *, dry_run: bool = False) -> Collected:
        return await collect_builds(self.database, self.path, unused_s=MONTH_S, dry_run=dry_run)

    def left(self) -> set[str]:
        """Return what is in the store, but for pointers that lead somewhere."""
        names = {one.name for one in self.store.iterdir() if not one.name.startswith(".built-")}
        for pointer in self.store.glob(".built-*"):
            assert pointer.read_text() in names, "a pointer leads nowhere"
        return names


def _ago(seconds: float) -> int:
    return int((time.time() - seconds) * 1e6)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Home]:
    monkeypatch.setenv("HUD_ENGINE", "no-such-engine")
    prepare(tmp_path / "home")
    with contextlib.closing(Database(tmp_path / "home")) as database:
        yield Home(tmp_path / "home", database)


async def test_what_no_version_refers_to_goes_once_it_is_old(home: Home) -> None:
    old, young = home.bundle(), home.bundle(YOUNG_S)
    could = await home.collect(dry_run=True)
    assert home.left() == {old, young}
    did = await home.collect()
    assert home.left() == {young}
    assert could == did
    assert (did.bundles, did.images, did.engine_says) == (1, 0, None)
    assert KILOBYTES * 1024 <= did.bundle_bytes <= 2 * KILOBYTES * 1024


async def test_the_version_that_is_run_stays_however_old_and_older_ones_go(home: Home) -> None:
    first, second, third = home.bundle(), home.bundle(), home.bundle()
    home.environment(first, second, third, current=2)
    assert (await home.collect()).bundles == 2
    assert home.left() == {second}


async def test_what_was_superseded_of_late_or_is_lent_stays(home: Home) -> None:
    shown, newest, lent, over = (home.bundle() for _ in range(4))
    _, fresh = home.environment(shown, newest, current=2)
    home.ended(fresh, YOUNG_S)
    loaned, ended, _ = home.environment(lent, over, home.bundle(), current=3)
    home.lease(loaned, "ready")
    home.lease(ended, "ended")
    assert (await home.collect()).bundles == 1
    assert over not in home.left()
    assert {shown, newest, lent} <= home.left()


async def test_while_rollouts_are_under_way_what_was_gone_back_from_just_now_stays(
    home: Home,
) -> None:
    first, second = home.bundle(), home.bundle()
    home.environment(first, second, current=2, ago_s=60)
    home.works()
    assert (await home.collect()).bundles == 0
    assert home.left() == {first, second}


async def test_a_removal_that_was_cut_short_is_finished(home: Home) -> None:
    home.bundle(YOUNG_S)
    half = home.store / f".removing-{home.bundle()}"
    (half / "source").mkdir(parents=True)
    await home.collect()
    assert not half.exists()


async def test_less_than_a_day_is_refused(home: Home) -> None:
    with pytest.raises(ValueError, match="at least 86400"):
        await collect_builds(home.database, home.path, unused_s=3600, dry_run=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with running(tmp_path_factory.mktemp("gone") / "home") as server:
        yield server


def test_a_build_whose_bundle_is_gone_is_said_to_be_gone_wherever_it_is_asked_for(
    server: Server,
) -> None:
    gone = f"bundle:{'a' * 64}"
    environment = know(server, "local", "lost", [{"id": "ask"}], uri=gone)
    rollout = {"trace_id": new_id(), "job_id": new_id(), "env": "lost", "task": "ask"}
    with server.client(server.key()) as client:
        for reply in (
            client.post("/runtime/sessions", json={"environment": "lost"}),
            client.post("/v2/rollouts/submit", json={**rollout, "agent": NOOP}),
        ):
            assert reply.status_code == 409, reply.text
            assert reply.json()["detail"] == "the build of environment 'lost' is not here any more"
            assert reply.json()["hint"] == "hud deploy builds it anew"
        back = client.post(f"/v2/registry/{environment}/rollback", json={"version": 1})
        assert back.status_code == 409, back.text
        assert "version 1 of environment 'lost' is not here any more" in back.json()["detail"]
