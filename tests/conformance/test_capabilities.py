"""Every capability client keeps the contract of capability clients, against a real daemon.

Each client has one small module in `tests/conformance/daemons`, and adding it is all it takes to
have it checked here. The module holds

    @contextlib.asynccontextmanager
    async def serve(folder: Path) -> AsyncGenerator[Subject[MyClient]]:
        # start the daemon (loopback, a free port, everything it writes under `folder`)
        yield Subject(MyClient, row, use, kill)
        # and end it, also when it was killed before

`use` and `kill` are those of `hud.testing.check_capability`: `use` works on a connected client,
again and again; `kill` ends the daemon as a crash would (SIGKILL). A daemon that needs a program
or a package asks for it with `tests.needs`, inside of `serve`. A client that needs more than its
row for each connection gives `prepare`; one that serves a single client at a time `parallel=1`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from hud.testing import check_capability

DAEMONS = sorted(path.stem for path in (Path(__file__).parent / "daemons").glob("[!_]*.py"))


@pytest.mark.parametrize("name", DAEMONS)
async def test_a_client_keeps_the_contract(name: str, tmp_path: Path) -> None:
    module: Any = importlib.import_module(f"tests.conformance.daemons.{name}")
    async with module.serve(tmp_path) as subject:
        await check_capability(
            subject.client_class,
            subject.capability,
            use=subject.use,
            kill=subject.kill,
            prepare=subject.prepare,
            parallel=subject.parallel,
            connect_limit_s=subject.connect_limit_s,
            impatient=subject.impatient,
        )
