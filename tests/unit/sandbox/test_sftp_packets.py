"""Packets no client would send: the SFTP server answers or hangs up, and never breaks."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sandbox.sftp_bridge import DEADLINE_S, command, place_guest

_NOBODY = 65534
_INIT = b"\1\0\0\0\3"
_PING = 0xFEEDFACE


class Server:
    """A server that was told nothing yet, as a uid that can break nothing."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._in = process.stdin
        self._out = process.stdout

    def send(self, *packets: bytes) -> None:
        self._in.write(b"".join(struct.pack(">I", len(packet)) + packet for packet in packets))
        self._in.flush()

    def send_raw(self, data: bytes) -> None:
        self._in.write(data)
        self._in.flush()

    def reply(self) -> bytes:
        (length,) = struct.unpack(">I", self._exactly(4))
        assert length <= 256 * 1024
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = self._out.read(count)
        assert data is not None and len(data) == count, "the server ended"
        return data

    def is_alive(self) -> bool:
        """Ask for the path of where it starts, past every reply that is still on its way."""
        self.send(struct.pack(">BII", 16, _PING, 1) + b".")
        while True:
            answer = self.reply()
            if answer[1:5] == struct.pack(">I", _PING):
                return answer[0] == 104

    def end(self) -> int:
        self._in.close()
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self._out.close()


@contextlib.contextmanager
def server() -> Generator[Server]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = folder / "start"
        start.mkdir()
        place_guest(folder)
        line = command(folder, start)
        if os.geteuid() == 0:
            os.chown(start, _NOBODY, _NOBODY)
            line.append(str(_NOBODY))
        pipe = subprocess.PIPE
        process = subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/")
        held = Server(process)
        try:
            yield held
            assert held.end() == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


@pytest.fixture(scope="module")
def begun() -> Generator[Server]:
    with server() as held:
        held.send(_INIT)
        assert held.reply()[0] == 2
        yield held


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


_paths = st.binary(max_size=12) | st.sampled_from(
    [b"", b".", b"a", b"b", b"a/b", b"fifo", b"../..", b"a\0b", b"\xff", b"x" * 5000]
)
_handles = st.sampled_from([b"1", b"2", b"3", b"9", b""]) | st.binary(max_size=5)
_numbers = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 10, 27, 2**31, 2**32 - 1])
_fields = (
    _paths.map(_string)
    | _handles.map(_string)
    | _numbers.map(lambda number: struct.pack(">I", number))
    | st.sampled_from([0, 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]).map(
        lambda number: struct.pack(">Q", number)
    )
    | st.binary(max_size=20)
    | st.sampled_from(
        [
            _string(name + b"@openssh.com")
            for name in (b"posix-rename", b"hardlink", b"fsync", b"statvfs", b"limits", b"none")
        ]
    )
)


@st.composite
def _shaped(draw: st.DrawFn) -> bytes:
    usual = [3, 4, 5, 6, 9, 11, 12, 14, 17, 18, 20, 200]
    kind = draw(st.integers(0, 255) | st.sampled_from(usual))
    fields = draw(st.lists(_fields, max_size=5))
    return bytes([kind]) + struct.pack(">I", 7) + b"".join(fields)


_packets = st.lists(_shaped() | st.binary(min_size=1, max_size=40), min_size=1, max_size=12)


@given(packets=_packets)
@settings(max_examples=400, deadline=None)
def test_no_packet_ends_the_server(begun: Server, packets: list[bytes]) -> None:
    begun.send(*packets)
    assert begun.is_alive()


@pytest.mark.parametrize("length", [0, 256 * 1024 + 1, 2**32 - 1])
def test_a_packet_of_no_possible_length_ends_the_connection(length: int) -> None:
    with server() as held:
        held.send(_INIT)
        assert held.reply()[0] == 2
        held.send_raw(struct.pack(">I", length) + b"xyz")
        with pytest.raises(AssertionError, match="ended"):
            held.reply()


def test_a_client_that_hangs_up_inside_a_packet_ends_it() -> None:
    with server() as held:
        held.send_raw(_INIT[:3])


def test_a_request_before_the_greeting_is_refused() -> None:
    with server() as held:
        held.send(struct.pack(">BII", 16, 5, 1) + b".")
        assert held.reply()[:9] == struct.pack(">BII", 101, 5, 4)
        held.send(_INIT)
        assert held.reply()[0] == 2


def test_a_read_of_four_gigabytes_is_answered_in_one_packet() -> None:
    with server() as held:
        held.send(_INIT, struct.pack(">BII", 3, 1, 9) + b"/dev/zero" + struct.pack(">II", 1, 0))
        held.reply()
        opened = held.reply()
        handle = opened[9:]
        held.send(struct.pack(">BI", 5, 2) + _string(handle) + struct.pack(">QI", 0, 2**32 - 1))
        answer = held.reply()
        assert (answer[0], len(answer)) == (103, 9 + 255 * 1024)


def test_a_chain_of_a_thousand_links_is_no_way_out() -> None:
    with server() as held:
        held.send(_INIT)
        held.reply()
        for number in range(1_000):
            link, target = _string(b"%d" % number), _string(b"%d" % (number + 1))
            held.send(struct.pack(">BI", 20, number) + link + target)
            assert held.reply()[:9] == struct.pack(">BII", 101, number, 0)
        held.send(struct.pack(">BI", 16, 1) + _string(b"0"))
        held.reply()
        assert held.is_alive()


def test_the_module_loads_next_to_nothing() -> None:
    with tempfile.TemporaryDirectory() as name:
        place_guest(Path(name))
        program = (
            "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules);"
            "import guest.sftp; print(*sorted(set(sys.modules) - before))"
        )
        line = [*command(Path(name), Path("/"))[:4], program, name]
        told = subprocess.run(line, capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    loaded = set(told.stdout.split())
    assert "guest.sftp" in loaded
    ours = {name for name in loaded if name.startswith("guest")}
    always = {"__future__", "os.path", "posixpath", "genericpath", "_collections_abc"}
    wanted = {"_struct", "struct", "errno", "_stat", "stat", "os", "time"}
    assert loaded - ours - always <= wanted
