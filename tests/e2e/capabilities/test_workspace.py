"""A workspace as its users see it: terminals, signals, streams, every option, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from hud.capabilities import Capability
from hud.capabilities.ssh import SSHClient
from hud.environment.workspace import Workspace
from hud.errors import CapabilityFault, InputError
from hud.sandbox import bwrap, launch
from hud.sandbox.spec import Isolation, Mount
from tests.security.world import lair, need_isolation, processes_of

DEADLINE_S = 90.0
ECHO = 53  # RFC 4254 section 8


@pytest.fixture(params=["bwrap", "uid"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    need_isolation(str(request.param))
    return request.param


class Shell:
    """A workspace that runs, and a connection to it."""

    def __init__(self, workspace: Workspace, ssh: SSHClient) -> None:
        self.workspace = workspace
        self.ssh = ssh

    async def sh(self, command: str) -> str:
        """Run a command that must succeed, and return what it wrote."""
        result = await self.ssh.execute(command, timeout_s=DEADLINE_S)
        assert result.exit_status == 0, result
        return result.stdout

    async def until(self, command: str) -> None:
        """Wait until a command succeeds."""
        async with asyncio.timeout(DEADLINE_S):
            while (  # noqa: ASYNC110
                await self.ssh.execute(command, timeout_s=DEADLINE_S)
            ).exit_status != 0:
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(isolation: Isolation, root: Any = None, **options: Any) -> AsyncGenerator[Shell]:
    workspace = Workspace(root, isolation=isolation, **options)
    async with asyncio.timeout(4 * DEADLINE_S):
        await workspace.start()
        try:
            async with await SSHClient.connect(workspace.capability()) as ssh:
                yield Shell(workspace, ssh)
        finally:
            await workspace.stop()


@pytest.fixture
async def shell(isolation: Isolation) -> AsyncGenerator[Shell]:
    async with running(isolation) as found:
        yield found


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what other processes do, which tell nobody."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# -- terminals, signals, streams


async def test_a_terminal_has_the_size_and_modes_asked_for_and_changes_with_its_window(
    shell: Shell,
) -> None:
    process = await shell.ssh.conn.create_process(
        "stty size; stty -a; tty; echo ready; read line; trap 'echo now $(stty size)' WINCH;"
        "echo trapped; for _ in $(seq 900); do sleep 0.1; done",
        term_type="xterm-256color",
        term_size=(101, 41),
        term_modes={ECHO: 0},
    )
    async with asyncio.timeout(DEADLINE_S):
        said = await process.stdout.readuntil("ready\r\n")
        assert said.startswith("41 101\r\n"), said
        assert "-echo " in said, said
        assert "/dev/pts/" in said, said
        process.stdin.write("a word\n")
        assert await process.stdout.readuntil("trapped\r\n") == "trapped\r\n"
        process.change_terminal_size(90, 30)
        assert await process.stdout.readline() == "now 30 90\r\n"
    process.close()


async def test_control_c_in_a_terminal_interrupts_what_runs_there(shell: Shell) -> None:
    process = await shell.ssh.conn.create_process(
        "echo $TERM; sleep 600", term_type="xterm", term_size=(80, 24)
    )
    async with asyncio.timeout(DEADLINE_S):
        assert await process.stdout.readline() == "xterm\r\n"
        process.stdin.write("\x03")
        await process.wait()
    assert process.exit_status != 0 or process.exit_signal is not None


@pytest.mark.parametrize("name", ["INT", "TERM", "USR1", "KILL"])
async def test_a_signal_reaches_the_command(shell: Shell, name: str) -> None:
    process = await shell.ssh.create_process(
        f"trap 'echo caught {name}; exit 3' INT TERM USR1; echo ready; while :; do sleep 0.1; done"
    )
    async with asyncio.timeout(DEADLINE_S):
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal(name)
        said = await process.stdout.read()
        await process.wait()
    if name == "KILL":
        assert process.exit_signal is not None
        assert process.exit_signal[0] == "KILL"
    else:
        assert (said, process.exit_status) == (f"caught {name}\n".encode(), 3)


async def test_input_is_a_stream_that_the_command_reads_as_it_comes(shell: Shell) -> None:
    process = await shell.ssh.create_process("while read line; do echo got $line; done; echo end")
    async with asyncio.timeout(DEADLINE_S):
        for word in ("one", "two"):
            process.stdin.write(f"{word}\n".encode())
            assert await process.stdout.readline() == f"got {word}\n".encode()
        process.stdin.write_eof()
        assert await process.stdout.read() == b"end\n"


async def test_a_server_of_one_command_is_reached_from_the_next() -> None:
    need_isolation("bwrap")
    async with running("bwrap") as shell:
        await shell.sh("echo served > file; python3 -m http.server 8000 >/dev/null 2>&1 &")
        await shell.until("curl -sSf http://localhost:8000/file | grep served")
        async with await SSHClient.connect(shell.workspace.capability()) as other:
            found = await other.execute("curl -sS http://127.0.0.1:8000/file")
        assert found.stdout == "served\n"


# -- options


async def test_variables_working_directory_name_and_place_are_as_told() -> None:
    need_isolation("bwrap")
    async with running(
        "bwrap", env={"WORD": "a b", "PATH": "/usr/bin:/bin"}, cwd="/tmp", user="ada",
        guest_path="/srv/project",
    ) as shell:  # fmt: skip
        await shell.ssh.write_text("/srv/project/file", "x")
        said = await shell.sh('echo "$WORD"; echo $PATH; pwd; id -un; echo $HOME; ls /srv/project')
        assert said.splitlines() == ["a b", "/usr/bin:/bin", "/tmp", "ada", "/home/agent", "file"]
        row = shell.workspace.capability()
        assert (row.params["cwd"], row.params["user"]) == ("/tmp", "ada")
        assert shell.workspace.read_text("/srv/project/file") == "x"
        assert shell.workspace.env == {"WORD": "a b", "PATH": "/usr/bin:/bin"}


async def test_by_uid_the_folder_is_where_it_is_on_this_machine() -> None:
    need_isolation("uid")
    async with running("uid", env={"WORD": "a b"}) as shell:
        root = str(shell.workspace.root)
        assert (await shell.sh('echo "$WORD"; pwd')).splitlines() == ["a b", root]
        assert shell.workspace.guest_path == root


async def test_mounts_are_writable_or_not_as_told(isolation: Isolation) -> None:
    with lair() as place:
        for name in ("read", "write"):
            (place / name).mkdir()
            (place / name / "file").write_text("before")
            (place / name).chmod(0o777)
            (place / name / "file").chmod(0o666)
        read, write = place / "read", place / "write"

        def inside(path: Path) -> str:
            return f"/mnt/{path.name}" if isolation == "bwrap" else str(path)

        mounts = [Mount("ro", str(read), inside(read)), Mount("rw", str(write), inside(write))]
        async with running(isolation, mounts=mounts) as shell:
            assert shell.workspace.mounts == tuple(mounts)
            assert await shell.sh(f"cat {inside(read)}/file") == "before"
            refused = await shell.ssh.execute(f"echo after > {inside(read)}/file")
            assert refused.exit_status != 0
            await shell.sh(f"echo after > {inside(write)}/file; touch {inside(write)}/new")
        assert (read / "file").read_text() == "before"
        assert (write / "file").read_text() == "after\n"
        assert (write / "new").exists()


async def test_every_start_begins_with_a_copy_of_the_files(isolation: Isolation) -> None:
    with lair() as place:
        template = place / "template"
        (template / "folder").mkdir(parents=True)
        (template / "folder" / "file").write_text("first")
        workspace = Workspace(files=template, isolation=isolation)
        for _ in range(2):
            await workspace.start()
            root = workspace.root
            async with await SSHClient.connect(workspace.capability()) as ssh:
                result = await ssh.execute("cat folder/file; echo changed > folder/file")
                assert (result.exit_status, result.stdout) == (0, "first"), result
            await workspace.stop()
            assert not root.exists()
        assert (template / "folder" / "file").read_text() == "first"
    with pytest.raises(InputError, match="not both"):
        Workspace("somewhere", files=template)


async def test_files_belong_to_the_uid_that_was_asked_for_unless_they_stay_mine(
    isolation: Isolation,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can choose a uid")
    uid = 61_234
    with lair() as place:
        root = place / "work"
        root.mkdir()
        (root / "mine").write_text("x")
        async with running(isolation, root, shell_uid=uid, shell_gid=uid + 1) as shell:
            await shell.sh("touch theirs; echo y > mine")
            owners = {(path.stat().st_uid, path.stat().st_gid) for path in root.iterdir()}
            assert owners == {(uid, uid + 1)}
            assert shell.workspace.sandbox.uid == uid
        os.chown(root, 0, 0)
        os.chown(root / "mine", 0, 0)
        async with running(isolation, root, shell_uid=uid, hand_over_root=False) as shell:
            refused = await shell.ssh.execute("echo z > mine")
            assert refused.exit_status != 0
            assert (root / "mine").stat().st_uid == 0
    with pytest.raises(CapabilityFault, match="may not run as root"):
        await Workspace(isolation=isolation, shell_uid=0).start()


async def test_what_a_named_uid_runs_elsewhere_is_left_alone() -> None:
    """A uid that was asked for may be somebody's."""
    need_isolation("uid")
    uid = 61_235
    theirs = await asyncio.create_subprocess_exec("sleep", "600", user=uid, group=uid, cwd="/")
    try:
        async with running("uid", shell_uid=uid) as shell:
            await shell.sh("(setsid sleep 600 &) ; sleep 600 & true")
            await shell.workspace.terminate_sessions()
            assert processes_of(uid) == [theirs.pid]
            await shell.workspace.run(["sh", "-c", "setsid sleep 600 & true"])
        await until(lambda: processes_of(uid) == [theirs.pid])
        assert theirs.returncode is None
    finally:
        theirs.kill()
        await theirs.wait()


async def test_namespaces_can_be_required() -> None:
    need_isolation("uid")
    workspace = Workspace(isolation="uid", require_isolation=True)
    with pytest.raises(CapabilityFault, match="requires namespaces, and has 'uid'"):
        await workspace.start()
    assert not processes_of_this_workspace(workspace)
    need_isolation("bwrap")
    async with running("bwrap", require_isolation=True) as shell:
        assert shell.workspace.isolation == "bwrap"
        assert shell.workspace.owns_netns


def processes_of_this_workspace(workspace: Workspace) -> list[int]:
    uid = workspace.untrusted_uid
    return [] if uid is None else processes_of(uid)


async def test_keys_of_yours_open_it_and_its_own_lie_in_no_file_that_others_read(
    isolation: Isolation, tmp_path: Path
) -> None:
    make: Any = vars(asyncssh)["generate_private_key"]
    host, client = make("ssh-ed25519"), make("ssh-ed25519")
    host.write_private_key(str(tmp_path / "host"))
    client.write_private_key(str(tmp_path / "client"))
    client.write_public_key(str(tmp_path / "client.pub"))
    keys = tmp_path / "keys"
    keys.mkdir()
    old = os.umask(0)
    try:
        async with running(
            isolation,
            host_key_path=tmp_path / "host",
            authorized_client_keys=[tmp_path / "client.pub"],
            credentials_dir=keys,
        ) as shell:
            workspace = shell.workspace
            public = host.export_public_key().decode().split()[:2]
            assert workspace.ssh_host_pubkey.split()[:2] == public
            path = workspace.ssh_client_key_path
            assert path is not None
            assert path.parent == keys
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            row = workspace.capability()
            for key in (path.read_text(), (tmp_path / "client").read_text()):
                mine = Capability(
                    row.name, row.protocol, row.url, {**row.params, "client_key": key}
                )
                async with await SSHClient.connect(mine) as ssh:
                    assert (await ssh.execute("echo in")).stdout == "in\n"
            stranger = make("ssh-ed25519").export_private_key("openssh").decode()
            params = {**row.params, "client_key": stranger}
            with pytest.raises(CapabilityFault):
                await SSHClient.connect(Capability(row.name, row.protocol, row.url, params))
    finally:
        os.umask(old)
    assert list(keys.iterdir()) == []


@pytest.mark.parametrize("options", [{"network": True}, {"allowed_hosts": ["localhost.test"]}])
async def test_a_way_out_is_a_proxy_that_refuses_this_machine_and_its_neighbours(
    isolation: Isolation, options: dict[str, Any]
) -> None:
    asked: list[str] = []

    def called(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append("a connection")
        writer.close()

    server = await asyncio.start_server(called, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(isolation, **options) as shell:
        assert (await shell.sh("echo $HTTP_PROXY $ALL_PROXY")).strip()
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", "169.254.169.254", "10.0.0.1"):
            for proxied in ("", "--noproxy '*'"):
                command = (
                    f"curl -sS -m 20 -o /dev/null -w '%{{http_code}}' {proxied} http://{host}/"
                )
                found = await shell.ssh.execute(command, timeout_s=DEADLINE_S)
                assert found.exit_status != 0 or found.stdout.startswith(("4", "5")), found
        assert shell.workspace.network is options.get("network", False)
        hosts = options.get("allowed_hosts")
        assert shell.workspace.allowed_hosts == (None if hosts is None else frozenset(hosts))
    assert asked == []


async def test_a_port_that_was_declared_is_reached_from_this_machine(isolation: Isolation) -> None:
    from hud.sandbox.confinement import free_port

    port = free_port()
    async with running(isolation, ports=[port]) as shell:
        assert shell.workspace.ports == {port}
        await shell.sh(
            f"echo served > file; python3 -m http.server -b 127.0.0.1 {port} >/dev/null 2>&1 &"
        )
        await shell.until(f"curl -sSf http://127.0.0.1:{port}/file | grep served")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /file HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            assert (await reader.read()).endswith(b"served\n")
        writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_further_names_of_its_loopback_need_namespaces() -> None:
    need_isolation("bwrap")
    async with running("bwrap", local_aliases=["app.test"]) as shell:
        assert shell.workspace.local_aliases == {"app.test"}
        assert (await shell.sh("getent hosts app.test")).split()[0] == "127.0.0.1"
    need_isolation("uid")
    with pytest.raises(CapabilityFault, match="local_aliases"):
        await Workspace(isolation="uid", local_aliases=["app.test"]).start()


async def test_a_port_that_is_taken_here_is_a_fault_that_says_so() -> None:
    need_isolation("bwrap")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CapabilityFault, match=f"port {port} .* is taken"):
            await Workspace(isolation="bwrap", ports=[port]).start()


def test_options_that_are_not_offered_say_so() -> None:
    with pytest.raises(InputError, match="hosts_path"):
        Workspace(hosts_path="/tmp/hosts")
    with pytest.raises(InputError, match="ports: 80 "):
        Workspace(ports=[80])
    unknown: dict[str, Any] = {"speed": 3}
    with pytest.raises(TypeError, match="no option 'speed'"):
        Workspace(**unknown)


# -- run


async def test_the_environments_own_commands_run_beside_the_agents_or_apart(shell: Shell) -> None:
    workspace = shell.workspace
    await shell.sh("echo of the agent > /var/tmp/note 2>/dev/null || echo of the agent > ~/note")
    done = await workspace.run(
        ["sh", "-c", "cat; echo $WORD >&2; exit 4"], input=b"in", max_wait=60
    )
    assert (done.returncode, done.exit_code, done.stdout) == (4, 4, b"in")
    done = await workspace.run(["sleep", "600"], max_wait=0.5)
    assert done.timed_out
    assert done.returncode is None
    apart = ["sh", "-c", "cat /var/tmp/note ~/note; echo $A$B"]
    done = await workspace.run(apart, isolated=True, env={"A": "1"})
    assert done.stdout == b"1\n"


async def test_variables_of_the_workspace_are_a_commands_if_it_says_so(
    isolation: Isolation,
) -> None:
    async with running(isolation, env={"WORD": "given"}) as shell:
        echo = ["sh", "-c", "echo $WORD"]
        assert (await shell.workspace.run(echo)).stdout == b"given\n"
        assert (await shell.workspace.run(echo, isolated=True)).stdout == b"\n"
        done = await shell.workspace.run(echo, isolated=True, inherit_workspace_env=True)
        assert done.stdout == b"given\n"


@pytest.mark.parametrize(
    "options",
    [
        {"identity": 0},
        {"allowed_hosts": ["example.com"]},
        {"no_new_privs": False},
        {"scope": "environment"},
        {"writable_hosts": True},
        {"inherit_workspace_env": False},
    ],
)
async def test_what_a_command_cannot_have_is_refused(shell: Shell, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cannot have") as caught:
        await shell.workspace.run(["true"], **options)
    assert caught.value.hint
    done = await shell.workspace.run(
        ["true"], identity="workspace", allowed_hosts=(), no_new_privs=True, scope="session",
        writable_hosts=False,
    )  # fmt: skip
    assert done.returncode == 0


# -- where it refuses


def test_without_namespaces_and_without_root_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_namespaces() -> str:
        return "user namespaces are forbidden"

    def nobody() -> int:
        return 1000

    monkeypatch.setattr(bwrap, "problem", no_namespaces)
    spec = Workspace()._described()  # pyright: ignore[reportPrivateUsage]
    if os.geteuid() == 0:
        assert launch.choose(spec) == "uid"
    monkeypatch.setattr(os, "geteuid", nobody)
    with pytest.raises(CapabilityFault, match="nothing here can isolate the agent") as caught:
        launch.choose(spec)
    assert "isolation='none'" in str(caught.value.hint)
    required = Workspace(isolation="bwrap")._described()  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(CapabilityFault, match="'bwrap' is not possible"):
        launch.choose(required)


def test_a_folder_with_the_environments_source_in_it_is_refused(tmp_path: Path) -> None:
    from hud import Environment

    (tmp_path / "env.py").write_text("")
    workspace = Workspace(tmp_path)
    with pytest.raises(InputError, match="holds the environment's own source"):
        workspace.keep_private(tmp_path / "env.py")
    with pytest.raises(InputError, match="own source"):
        Environment("here").workspace(Path(__file__).parent)


# -- ends


async def test_commands_of_a_connection_end_with_it_and_others_go_on(shell: Shell) -> None:
    """What left its session for another is a server, and lives on until the episode ends."""
    other = await SSHClient.connect(shell.workspace.capability())
    await other.create_process("sleep 600 & echo $! > background; echo $$ > front; sleep 600")
    await other.execute("setsid sh -c 'echo $$ > server; exec sleep 600' >/dev/null 2>&1 &")
    kept = await shell.ssh.create_process("echo $$ > kept; exec sleep 600")
    await shell.until("for name in background front server kept; do test -s $name || exit 1; done")
    await shell.sh("kill -0 $(cat background) $(cat front) $(cat server) $(cat kept)")

    await other.close()

    await shell.until("! kill -0 $(cat background) 2>&- && ! kill -0 $(cat front) 2>&-")
    await shell.sh("kill -0 $(cat server) $(cat kept)")
    assert kept.exit_status is None
    await shell.workspace.terminate_sessions()
    left = ["sh", "-c", "kill -0 $(cat server) || kill -0 $(cat kept)"]
    assert (await shell.workspace.run(left)).exit_code != 0


async def test_a_stopped_workspace_leaves_no_process_and_no_folder(isolation: Isolation) -> None:
    async with running(isolation) as shell:
        workspace = shell.workspace
        root, home, uid = workspace.root, workspace.sandbox.home, workspace.sandbox.uid
        await shell.sh("setsid sleep 600 >/dev/null 2>&1 & nohup sleep 600 >/dev/null 2>&1 &")
        row = workspace.capability()
    assert not root.exists()
    if isolation == "uid":
        assert not Path(home).exists()
    if os.geteuid() == 0:
        await until(lambda: processes_of(uid) == [])
    with pytest.raises(CapabilityFault):
        await SSHClient.connect(row)
    with pytest.raises(CapabilityFault, match="not started"):
        await workspace.run(["true"])
