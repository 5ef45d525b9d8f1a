"""An agent reads what is outside its workspace: by path, link, /proc, descriptor, SFTP, race."""

from __future__ import annotations

import contextlib
import os

import asyncssh
import pytest

from tests.security.world import KEY_SECRET, PYTHON, Agent, Served, outside

_READ_DENIED = ("Permission denied", "No such file", "Not a directory", "Operation not permitted")
_SECRETS = ("beside", "home", "source", "grader", "other rollout", "hud home")


def refused(text: str) -> bool:
    return any(reason in text for reason in _READ_DENIED)


@pytest.mark.parametrize("secret", _SECRETS)
async def test_no_file_outside_is_read_by_its_path(agent: Agent, secret: str) -> None:
    path, content = agent.served.secrets[secret]
    if secret != "home":  # the home of root is closed to others anyway
        assert content in outside(["cat", str(path)]).stdout

    result = await agent.sh(f"cat {path}; cat < {path}; head -c 1000 //{path}")

    assert content not in result.stdout + result.stderr
    assert result.exit_status != 0
    assert refused(result.stderr), result


@pytest.mark.parametrize("secret", _SECRETS)
async def test_no_file_outside_is_read_through_a_link(agent: Agent, secret: str) -> None:
    path, content = agent.served.secrets[secret]

    result = await agent.sh(
        f"ln -s {path} soft && cat soft; ln -sfn {path.parent} folder && cat folder/{path.name};"
        f"ln -s / top && cat top{path}; ln {path} hard && cat hard; ls folder/; cp -r folder/. ."
    )

    assert content not in result.stdout + result.stderr
    assert refused(result.stderr), result
    shown = await agent.sh("cat hard 2>&1; grep -r secret- . 2>&1")
    assert content not in shown.stdout


async def test_the_passwords_of_this_machine_stay_closed(agent: Agent) -> None:
    result = await agent.sh(
        "cat /etc/shadow /etc/gshadow /etc/sudoers; ls /root; cat /etc/ssh/*_key"
    )

    assert refused(result.stderr), result
    assert not result.stdout, result


async def test_a_folder_outside_is_not_listed(agent: Agent) -> None:
    lair = agent.served.lair
    assert "secret" in outside(["ls", str(lair)]).stdout

    result = await agent.sh(f"ls -a {lair}; ls {lair}/other; find {lair} 2>&1; echo {lair}/*")

    assert "env.py" not in result.stdout
    assert "theirs" not in result.stdout
    assert "hud-home" not in result.stdout


@pytest.mark.parametrize(
    "entry", ["root", "cwd", "exe", "fd", "environ", "maps", "mem", "map_files"]
)
async def test_proc_shows_no_process_of_this_machine(agent: Agent, entry: str) -> None:
    pid, (path, content) = agent.served.process.pid, agent.served.secrets["beside"]

    result = await agent.sh(
        f"for p in {pid} 1 self/../{pid} $PPID; do"
        f" ls -l /proc/$p/{entry}/; cat /proc/$p/{entry}; cat /proc/$p/{entry}{path};"
        f" cat /proc/$p/{entry}/secret; cat /proc/$p/{entry}/env.py;"
        f" cat /proc/$p/task/*/{entry}{path}; done; true"
    )

    seen = result.stdout + result.stderr
    assert content not in seen
    assert "source-secret" not in seen
    assert KEY_SECRET not in seen
    assert refused(result.stderr), result


async def test_no_variable_of_the_environments_process_is_seen(agent: Agent) -> None:
    result = await agent.sh(
        "env; set; export -p; cat /proc/self/environ /proc/*/environ /proc/1/task/*/environ"
        " | tr '\\0' '\\n'; ps auxeww; strings /proc/*/cmdline"
    )

    seen = result.stdout + result.stderr
    assert "PATH=/usr/local/sbin" in seen, "the attempt shows variables"
    for name in (KEY_SECRET, "HUD_API_KEY", "OPENAI_API_KEY", "HUD_HOME", "GUARDED"):
        assert name not in seen


_DESCRIPTORS = """
import os, sys
for fd in range(3, 4096):
    try:
        found = os.fstat(fd)
    except OSError:
        continue
    print("inherited", fd, oct(found.st_mode))
for fd in (0, 1, 2):
    for way in ("..", "../..", "../../../../../.."):
        try:
            os.open(way + sys.argv[1], os.O_RDONLY, dir_fd=fd)
            print("escaped", fd, way)
        except OSError as error:
            print(error.strerror)
"""


async def test_no_descriptor_is_inherited(agent: Agent) -> None:
    plain = await agent.python(_DESCRIPTORS, str(agent.served.lair / "secret"))
    process = await agent.shell.create_process(
        f"{PYTHON} attempt.py {agent.served.lair}/secret", term_type="xterm"
    )
    terminal = await process.wait()

    for said in (plain.stdout, str(terminal.stdout)):
        assert "Not a directory" in said
        assert "inherited" not in said
        assert "escaped" not in said


@pytest.mark.parametrize("secret", _SECRETS)
async def test_sftp_does_not_leave_the_sandbox(agent: Agent, secret: str) -> None:
    path, content = agent.served.secrets[secret]
    up = "../" * 20
    tried = [
        str(path),
        f"{up}{path}",
        f"/workspace/{up}{path}",
        f"link{path}",
        f"/proc/{agent.served.process.pid}/root{path}",
        f"/proc/self/root{path}",
        f"/proc/self/cwd/{up}{path}",
    ]
    async with agent.shell.conn.start_sftp_client() as sftp:
        await sftp.symlink("/", "link")
        assert await sftp.readlink("link") == "/"
        for name in tried:
            with pytest.raises(asyncssh.SFTPError) as caught:
                async with sftp.open(name, "rb") as file:
                    assert content.encode() not in await file.read()
            assert refused(str(caught.value)) or caught.value.code in (2, 3, 4), caught.value
        with pytest.raises(asyncssh.SFTPError):
            await sftp.link(str(path), "hard")
        with pytest.raises(asyncssh.SFTPError):
            await sftp.rename(str(path), "moved")
        # Where this process is not root, an empty folder of the sandbox's own may be there.
        with contextlib.suppress(asyncssh.SFTPError):
            await sftp.put(__file__, f"{path.parent}/put")
    assert path.read_text().find(content) != -1
    assert not (path.parent / "put").exists()


_RACE = """
import os, sys, time
target, seen = sys.argv[1], set()
os.makedirs("a", exist_ok=True)
open("a/secret", "w").write("mine")
if not os.path.islink("b"): os.symlink(os.path.dirname(target), "b")
child = os.fork()
until = time.monotonic() + 2
if child == 0:
    while time.monotonic() < until:
        for x, y in (("a", "swap"), ("b", "a"), ("swap", "b")):
            try: os.rename(x, y)
            except OSError: pass
    os._exit(0)
while time.monotonic() < until:
    if os.path.islink("a"): seen.add("met the link")
    try: seen.add(open("a/secret").read())
    except OSError as error: seen.add(error.strerror)
os.waitpid(child, 0)
print(sorted(seen))
"""


async def test_a_race_of_renames_reads_nothing_outside(agent: Agent) -> None:
    path, content = agent.served.secrets["beside"]

    result = await agent.python(_RACE, str(path))

    assert "mine" in result.stdout, result
    assert "met the link" in result.stdout, result
    assert content not in result.stdout


async def test_what_is_outside_is_not_written(served: Served, agent: Agent) -> None:
    lair = served.lair
    lair.chmod(0o777)
    (lair / "secret").chmod(0o666)
    try:
        assert outside(["sh", "-c", f"echo >{lair}/nobody"]).returncode == 0
        result = await agent.sh(
            f"echo x > {lair}/mine; echo x >> {lair}/secret; touch /etc/x /usr/x /var/x /x;"
            f"mkdir {lair}/folder; rm -rf {lair}/nobody; echo x > /usr/bin/env; echo x >/etc/passwd"
        )
    finally:
        lair.chmod(0o755)
    assert result.exit_status != 0
    assert not (lair / "mine").exists()
    assert (lair / "nobody").exists()
    assert (lair / "secret").read_text() == "lair-secret-5b20"
    # Where this process is not root, empty folders at those places are the sandbox's own.
    assert result.stderr.count("\n") >= (8 if os.geteuid() == 0 else 4), result


async def test_temporary_files_of_others_are_not_seen(agent: Agent) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.NamedTemporaryFile(dir="/tmp", prefix="theirs-") as file:
        Path(file.name).chmod(0o666)
        file.write(b"theirs")
        file.flush()
        assert outside(["cat", file.name]).stdout == "theirs"
        result = await agent.sh(f"cat {file.name}; ls /tmp /var/tmp /dev/shm; echo >> {file.name}")
        assert "theirs" not in result.stdout
        assert Path(file.name).read_text() == "theirs"
