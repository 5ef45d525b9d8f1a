"""Names of keys and chords."""

from __future__ import annotations

import string

import pytest

from hud.capabilities.cdp import CDPError
from hud.capabilities.cdp.keys import key_for, mask, parse_chord


def test_every_printable_ascii_character_has_a_key() -> None:
    typed = string.ascii_letters + string.digits + string.punctuation + " "
    keys = {character: key_for(character) for character in typed}
    assert all(key is not None and key.text == character for character, key in keys.items())
    places = {(key.code, key.shifted) for key in keys.values() if key is not None}
    assert len(places) == len(typed), "two characters on one place of the keyboard"
    assert key_for("é") is None
    assert key_for("😀") is None


@pytest.mark.parametrize(
    ("text", "modifiers", "value"),
    [
        ("Enter", (), "Enter"),
        ("a", (), "a"),
        ("A", ("Shift",), "A"),
        ("%", ("Shift",), "%"),
        ("Control+A", ("Control",), "a"),
        ("Control+Shift+a", ("Control", "Shift"), "A"),
        ("Shift+1", ("Shift",), "!"),
        ("Shift+;", ("Shift",), ":"),
        ("ctrl++", ("Control", "Shift"), "+"),
        ("+", ("Shift",), "+"),
        ("Meta+Left", ("Meta",), "ArrowLeft"),
        ("super+Page_Down", ("Meta",), "PageDown"),
        ("Return", (), "Enter"),
        ("space", (), " "),
        ("alt+F4", ("Alt",), "F4"),
        ("Shift", (), "Shift"),
        ("Control+Shift", ("Control",), "Shift"),
    ],
)
def test_a_chord_is_read_as_people_write_it(
    text: str, modifiers: tuple[str, ...], value: str
) -> None:
    chord = parse_chord(text)
    assert chord.modifiers == modifiers
    assert chord.key.value == value
    assert chord.mask == mask(modifiers)


@pytest.mark.parametrize("text", ["", "Foo", "Enter+a", "a+b", "Control+", "Control+é", "é", "F25"])
def test_what_names_no_key_is_refused(text: str) -> None:
    with pytest.raises(CDPError, match=r"names no key|is no modifier"):
        parse_chord(text)
