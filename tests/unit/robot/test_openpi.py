"""Frames of the robot wire: what goes through, and what is refused."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest

from hud.protocol.openpi import MAX_DIMENSIONS, BadFrame, pack, unpack
from tests.needs import need_module

np = need_module("numpy")


def spelled(frame: Any) -> bytes:
    return msgspec.msgpack.encode(frame)


def array(**changed: Any) -> bytes:
    held: dict[bytes, Any] = {
        b"__ndarray__": True,
        b"data": bytes(8),
        b"dtype": "<f4",
        b"shape": [2],
    }
    held |= {key.encode(): value for key, value in changed.items()}
    return spelled({"state": held})


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int64", "float16", "float32", "float64", ">f4"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (4, 3, 2)])
def test_arrays_of_numbers_come_back_as_they_were(dtype: str, shape: tuple[int, ...]) -> None:
    sent = np.arange(int(np.prod(shape))).astype(dtype).reshape(shape)
    got = unpack(pack({"x": sent}))["x"]
    assert got.dtype == sent.dtype and got.shape == sent.shape
    assert np.array_equal(got, sent)
    assert got.flags.writeable


def test_slices_and_transposed_arrays_keep_their_order() -> None:
    whole = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    sent = whole.transpose(2, 0, 1)[::2]
    assert np.array_equal(unpack(pack({"x": sent}))["x"], sent)


def test_scalars_texts_and_nested_maps_come_back() -> None:
    frame = {"reward": np.float32(1.5), "on": np.bool_(True), "meta": {"n": 3, "a": np.zeros(2)}}
    got = unpack(pack({**frame, "claim": None, "list": [np.int64(7), "text"]}))
    assert got["reward"] == np.float32(1.5) and got["reward"].dtype == np.float32
    assert bool(got["on"]) is True
    assert got["meta"]["n"] == 3 and got["meta"]["a"].tolist() == [0.0, 0.0]
    assert got["claim"] is None and got["list"] == [7, "text"]


def test_the_bytes_are_those_openpi_clients_write() -> None:
    data = pack({"actions": np.array([1.0], np.float32)})
    held = msgspec.msgpack.decode(data)["actions"]
    assert held == {
        b"__ndarray__": True,
        b"data": struct.pack("<f", 1.0),
        b"dtype": "<f4",
        b"shape": [1],
    }


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array([{}], dtype=object), np.array(["a"]), np.array([1j]), object()],
    ids=["objects", "dicts", "texts", "complex", "anything"],
)
def test_what_is_no_array_of_plain_numbers_is_not_sent(value: Any) -> None:
    with pytest.raises(BadFrame, match="cannot be sent"):
        pack({"x": value})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        spelled([1, 2]),
        spelled({1: 2}),
        spelled({b"bytes": 2}),
        pack({"x": np.zeros(100)})[:-1],
        array(dtype="|O8", data=bytes(16)),
        array(dtype="O"),
        array(dtype="<U2"),
        array(dtype="f4,f4", shape=[1]),
        array(dtype="|V4"),
        array(dtype=7),
        array(dtype="nonsense"),
        array(shape=[3]),
        array(shape=[-2, -1]),
        array(shape=[2.0]),
        array(shape=[True, 2]),
        array(shape=[1] * MAX_DIMENSIONS + [2]),
        array(shape=[2**62, 2**62]),
        array(shape="2"),
        array(data="text"),
        spelled({"x": {b"__npgeneric__": True, b"data": "a", b"dtype": "<f4"}}),
        spelled({"x": {b"__npgeneric__": True, b"data": 1, b"dtype": "O"}}),
        b"\x81\xa1x" * 100_000 + b"\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
    ],
)
def test_a_frame_that_is_no_map_of_plain_arrays_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        unpack(data)
