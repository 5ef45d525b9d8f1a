"""Machines that offer less: no Landlock beside a uid, namespaces without root or control groups."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import hud
from hud.capabilities.ssh import SSHClient
from hud.environment.browser import Browser
from hud.environment.workspace import Workspace
from hud.errors import CapabilityFault
from hud.sandbox.guest import landlock
from hud.sandbox.spec import Peer
from tests.security.world import PYTHON, SECRET, lair, need_isolation

DEADLINE_S = 120.0
USER = 61_236


@pytest.fixture
def no_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    need_isolation("uid")

    def none() -> int:
        return 0

    monkeypatch.setattr(landlock, "abi", none)


@pytest.fixture
def old_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a Landlock that knows files and no ports."""
    need_isolation("uid")

    def three() -> int:
        return 3

    monkeypatch.setattr(landlock, "abi", three)


@pytest.mark.usefixtures("no_landlock")
async def test_a_source_that_permissions_let_everybody_read_is_refused() -> None:
    with lair() as place:
        source = place / "env.py"
        source.write_text("secret")
        workspace = Workspace(isolation="uid")
        workspace.keep_private(source)
        with pytest.raises(CapabilityFault, match=f"could read {source}") as caught:
            await workspace.start()
        assert "chmod" in str(caught.value.hint)


@pytest.mark.usefixtures("no_landlock")
async def test_a_source_that_permissions_protect_stays_closed_and_the_shell_works() -> None:
    with lair() as place:
        source = place / "env.py"
        source.write_text(SECRET)
        source.chmod(0o600)
        workspace = Workspace(isolation="uid")
        workspace.keep_private(source)
        async with asyncio.timeout(DEADLINE_S):
            await workspace.start()
            try:
                async with await SSHClient.connect(workspace.capability()) as ssh:
                    found = await ssh.execute("echo it works > file; cat file")
                    assert found.stdout == "it works\n", found
                    found = await ssh.execute(f"cat {source} /etc/shadow; id -u")
                    assert SECRET not in found.stdout
                    assert found.stdout.strip() == str(workspace.sandbox.uid), found
                    # Of the network nothing but the filter of system calls is left, and is enough.
                    found = await ssh.execute(
                        "/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_INET)'"
                    )
                    assert "PermissionError" in found.stderr, found
            finally:
                await workspace.stop()


@pytest.mark.usefixtures("no_landlock")
@pytest.mark.parametrize(
    "options",
    [
        {"network": True},
        {"allowed_hosts": ["example.com"]},
        {"peers": [Peer("shop", 8080)]},
        {"ports": [8080]},
    ],
)
async def test_what_needs_a_limited_network_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(CapabilityFault, match=r"cannot limit the network.*no Landlock") as caught:
        await Workspace(isolation="uid", **options).start()
    assert caught.value.hint


@pytest.mark.usefixtures("no_landlock")
async def test_a_browser_which_must_listen_is_refused() -> None:
    from tests.conformance.daemons.cdp import NAMES
    from tests.needs import need_program

    need_program(*NAMES)
    with pytest.raises(CapabilityFault, match="cannot limit the network"):
        await Browser(isolation="uid").start()


@pytest.mark.usefixtures("old_landlock")
async def test_a_landlock_that_knows_no_ports_is_named() -> None:
    with pytest.raises(CapabilityFault, match="version 3, not 4"):
        await Workspace(isolation="uid", network=True).start()


AS_A_USER = '''
import asyncio, json
from hud.capabilities.ssh import SSHClient
from hud.environment.workspace import Workspace
from hud.graders import BashGrader
from hud.sandbox.spec import Limits

BOMB = """
import os, time
for count in range(200):
    try: child = os.fork()
    except OSError as error: print(count < 60, error.strerror); break
    if child == 0: os.closerange(0, 3); os.setsid(); time.sleep(600); os._exit(0)
"""

async def main():
    limits = Limits(memory_mb=256, processes=60, file_mb=8, disk_mb=20)
    workspace = Workspace(isolation="bwrap", limits=limits)
    await workspace.start()
    said = {"enforced": sorted(workspace.sandbox.enforced), "isolation": workspace.isolation}
    async with await SSHClient.connect(workspace.capability()) as ssh:
        async def sh(name, command):
            result = await ssh.execute(command, timeout_s=60)
            said[name] = [result.exit_status, (result.stdout + result.stderr)[-500:]]
        await sh("works", "echo it works > file; cat file; id -u")
        status = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status"
        await sh("caps", status + " | tr -s '[:space:]' ' '")
        await sh("file", "head -c 9M /dev/zero > big; stat -c %s big; rm -f big")
        await sh("memory", "/usr/bin/python3 -c 'bytearray(1 << 30)'")
        await ssh.write_text("bomb.py", BOMB)
        await sh("bomb", "/usr/bin/python3 bomb.py")
        await sh("after", "echo fine")
        await sh("secret", "cat ~/../../etc/shadow; ls /root")
    found = await BashGrader.compute_score(command="grep -q works file", cwd=workspace.root)
    said["graded"] = found.value
    await workspace.stop()
    print(json.dumps(said))

asyncio.run(main())
'''


def _python_for(options: dict[str, Any], env: dict[str, str]) -> str:
    """Return an interpreter that the other user can run this project with; skip without one."""
    code = "import asyncssh, hud; from hud.sandbox import bwrap; print(bwrap.problem())"
    said = ""
    for python in (sys.executable, PYTHON):
        try:
            done = subprocess.run(
                [python, "-c", code],
                env=env,
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
                **options,
            )
        except OSError as error:
            said += f"; {error}"
            continue
        if done.stdout.strip() == "None":
            return python
        said += f"; {done.stdout}{done.stderr[-300:]}"
    pytest.skip(f"another user can not run this project here{said}")


async def test_a_plain_user_without_control_groups_has_a_wall_and_limits_all_the_same() -> None:
    need_isolation("bwrap")
    if os.geteuid() != 0:
        pytest.skip("only root can become another user for this")
    with tempfile.TemporaryDirectory(prefix="hud-user-") as folder:
        os.chown(folder, USER, USER)
        source = Path(hud.__file__).parents[1]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "LOGNAME": "somebody",
            "TMPDIR": folder,
            "HUD_HOME": f"{folder}/hud",
            "PYTHONPATH": os.pathsep.join([str(source), *filter(None, sys.path)]),
        }
        options: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": [], "cwd": folder}
        python = await asyncio.to_thread(_python_for, options, env)
        process = await asyncio.create_subprocess_exec(
            python, "-c", AS_A_USER, env=env, stdout=subprocess.PIPE, **options
        )
        try:
            async with asyncio.timeout(2 * DEADLINE_S):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = json.loads(out)
        left = [path.name for path in Path(folder).iterdir() if path.name != "hud"]
    assert said["isolation"] == "bwrap"
    assert "memory" not in said["enforced"], said
    assert said["works"] == [0, "it works\n1000\n"], said
    assert said["caps"][1].strip() == "CapEff: 0000000000000000 NoNewPrivs: 1 Seccomp: 2", said
    assert said["file"][1].startswith(("8388608", "head:")) or said["file"][0] != 0, said
    assert "MemoryError" in said["memory"][1], said
    assert said["bomb"][1].startswith("True Resource temporarily unavailable"), said
    assert said["after"][0] == 0, said
    assert said["after"][1].startswith("fine"), said
    assert said["secret"][0] != 0, said
    assert said["graded"] == 1.0, said
    assert left == []
