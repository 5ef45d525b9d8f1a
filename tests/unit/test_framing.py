"""Lines out of bytes, whatever the pieces they arrive in."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud.protocol.framing import FrameBuffer, FrameTooLong

LINES = st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b" ")))


@given(lines=LINES, tail=st.binary(max_size=20), cuts=st.lists(st.integers(0, 400)))
def test_every_line_comes_out_whole_and_in_order(
    lines: list[bytes], tail: bytes, cuts: list[int]
) -> None:
    tail = tail.replace(b"\n", b"")
    data = b"".join(line + b"\n" for line in lines) + tail
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    buffer, found = FrameBuffer(), list[bytes]()
    for start, end in itertools.pairwise(edges):
        buffer.feed(data[start:end])
        while (line := buffer.next()) is not None:
            found.append(line)

    assert found == lines
    assert buffer.rest() == tail
    assert buffer.rest() == b""


def test_a_line_of_exactly_the_limit_passes_and_one_more_byte_does_not() -> None:
    buffer = FrameBuffer(limit=4)
    buffer.feed(b"1234\n")
    assert buffer.next() == b"1234"
    buffer.feed(b"12345\n")
    with pytest.raises(FrameTooLong, match="4 bytes"):
        buffer.next()


def test_a_line_is_refused_before_its_end_arrives() -> None:
    buffer = FrameBuffer(limit=4)
    buffer.feed(b"1234")
    assert buffer.next() is None
    buffer.feed(b"5")
    with pytest.raises(FrameTooLong):
        buffer.next()


def test_an_earlier_line_is_handed_out_before_the_long_one_is_refused() -> None:
    buffer = FrameBuffer(limit=4)
    buffer.feed(b"ok\n12345678")
    assert buffer.next() == b"ok"
    with pytest.raises(FrameTooLong):
        buffer.next()
