"""Cursors: what was put in comes out, and nothing else is taken for one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud.platform.cursors import decode_cursor, encode_cursor
from hud.platform.errors import ApiError


@given(st.integers(0, 2**63 - 1), st.text(max_size=40))
def test_a_cursor_gives_back_the_sort_key_it_was_made_of(at: int, name: str) -> None:
    assert decode_cursor(encode_cursor(at, name), int, str) == (at, name)


@given(st.text(max_size=60))
def test_text_that_is_no_cursor_is_refused_as_bad_input(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        decode_cursor(text, int, str)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "document", ['{"a": 1}', "[1]", '["x", 1]', '[true, "x"]', '[-1, "x"]', '[1e400, "x"]']
)
def test_a_cursor_of_another_form_is_refused(document: str) -> None:
    with pytest.raises(ApiError):
        decode_cursor(base64.urlsafe_b64encode(document.encode()).decode(), int, str)
