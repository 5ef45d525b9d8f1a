"""Keys as models of all vendors write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud.agents.tools.base import ToolError
from hud.agents.tools.key_names import MODIFIERS, chords, key_name, modifiers
from hud.capabilities.cdp.keys import parse_chord
from hud.capabilities.rfb.keys import chord as keysyms


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("ctrl+s", [("Control", "s")]),
        ("CTRL+SHIFT+T", [("Control", "Shift", "T")]),
        ("Return", [("Enter",)]),
        ("KP_Enter", [("Enter",)]),
        ("Page_Down", [("PageDown",)]),
        ("Page Down", [("PageDown",)]),
        ("BackSpace", [("Backspace",)]),
        ("XK_Escape", [("Escape",)]),
        ("super", [("Meta",)]),
        ("Super_L", [("Meta",)]),
        ("Control+Shift+Escape", [("Control", "Shift", "Escape")]),
        ("ctrl + plus", [("Control", "+")]),
        ("ctrl++", [("Control", "+")]),
        ("+", [("+",)]),
        (" ", [(" ",)]),
        ("-", [("-",)]),
        ("Ctrl-C", [("Control", "C")]),
        ("ctrl--", [("Control", "-")]),
        ("ctrl+a Delete", [("Control", "a"), ("Delete",)]),
        ("Tab Tab", [("Tab",), ("Tab",)]),
        ("shift", [("Shift",)]),
        ("KeyA", [("a",)]),
        ("Digit7", [("7",)]),
        ("F11", [("F11",)]),
        ("XF86AudioMute", [("XF86AudioMute",)]),
        (["CTRL", "A"], [("Control", "A")]),
        (["ARROWDOWN"], [("ArrowDown",)]),
        (["ctrl+shift", "t"], [("Control", "Shift", "t")]),
        (["a", "b"], [("a",), ("b",)]),
        (["SHIFT", "ArrowRight", "ArrowRight"], [("Shift", "ArrowRight"), ("Shift", "ArrowRight")]),
    ],
)
def test_every_way_of_writing_keys_is_read(
    written: str | list[str], read: list[tuple[str, ...]]
) -> None:
    assert chords(written) == read


@pytest.mark.parametrize("written", ["", [], "ctrl+", "+a", "a++b"])
def test_what_is_no_key_is_refused(written: str | list[str]) -> None:
    with pytest.raises(ToolError):
        chords(written)


@given(st.text(min_size=1, max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read = chords(text)
    except ToolError:
        return
    for chord in read:
        assert sum(name not in MODIFIERS for name in chord) <= 1
        assert all(chord)


NAMES = """Return Enter Escape Tab space BackSpace Delete Insert Home End Page_Up Page_Down Left
Right Up Down F1 F12 plus minus period comma slash semicolon a Z 7 ? ~"""
NAMED = st.sampled_from(NAMES.split())
HELD = st.lists(st.sampled_from(["ctrl", "shift", "alt", "CTRL", "Control", "super", "cmd"]))


@given(HELD, NAMED)
def test_both_clients_know_every_key_that_is_read(held: list[str], name: str) -> None:
    for chord in chords("+".join([*held, name])):
        assert parse_chord("+".join(chord)).key.code
        assert keysyms(["super" if key == "Meta" else key for key in chord])


def test_only_modifiers_can_be_held_meanwhile() -> None:
    assert modifiers("ctrl+shift") == ["Control", "Shift"]
    assert modifiers(["CTRL"]) == ["Control"]
    assert modifiers(None) == modifiers("") == modifiers([]) == []
    with pytest.raises(ToolError, match="'a' cannot be held"):
        modifiers("ctrl+a")


@given(st.text(max_size=20))
def test_a_name_is_read_alike_however_often(name: str) -> None:
    assert key_name(key_name(name)) == key_name(name)
