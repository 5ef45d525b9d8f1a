"""Secrets leave text and JSON, clean text and valid JSON stay what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hud._core import redact as module
from hud._core.redact import redact, redact_json, refresh, register_secret

# Put together here, so that no scanner takes this file for a leak.
KEYS = {
    "openai": "sk-" + "proj-Ab12" * 5,
    "anthropic": "sk-" + "ant-api03-" + "Zz9_" * 10,
    "stripe": "sk_" + "live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "aws": "AK" + "IA" + "IOSFODNN7EXAMPLE",
    "github": "gh" + "p_" + "a1B2" * 9,
    "github fine": "github" + "_pat_" + "11ABCDE_" + "x9" * 20,
    "google": "AI" + "za" + "SyA1234567890abcdefghijklmnopqrstuv"[:35],
    "slack": "xo" + "xb-" + "1234567890-abcdefghij",
    "hugging face": "hf" + "_" + "aBcD" * 8,
    "hud": "hud" + "_" + "1234567890abcdef1234",
    "hud live": "hud" + "_live_" + "1234567890abcdef1234",
    "jwt": "ey" + "JhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0." + "c2lnbmF0dXJl",
    "pem": "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
}
CLEAN = (
    "the quick brown fox, task-1234567890abcdefgh, risk-averse-behaviour-everywhere, "
    "hud_environment_variables, hf_hub, eyJ, A KIA, bearer authentication, BEGIN, "
    "https://example.com:8080/a@b, user@example.com, ratio 1:2@3, commit 9fceb02d0ae598e95dc970b"
)


@pytest.fixture(autouse=True)
def _no_lasting_secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known: set[str] = set()
    monkeypatch.setattr(module, "_registered", known)
    yield
    monkeypatch.undo()
    refresh()


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_the_shape_of_a_known_key_is_enough(key: str) -> None:
    assert redact(f"before {key} after") == "before [redacted] after"
    assert redact_json(json.dumps({"k": [f"x={key}"]}).encode()) == b'{"k": ["x=[redacted]"]}'


def test_the_letters_of_a_key_within_a_picture_are_no_key() -> None:
    picture = "iVBORw0KGgo" + "AI" + "za" + "Sy1234567890abcdefghijklmnopqrstuvwxyz0123456789" * 3
    assert redact(picture) == picture
    assert redact_json(json.dumps({"data": picture}).encode()) == b'{"data": "%s"}' % (
        picture.encode()
    )


def test_a_bearer_token_goes_and_the_word_stays() -> None:
    assert redact("Authorization: Bearer abc123.def-456_x") == "Authorization: Bearer [redacted]"
    assert redact("authorization: bearer abc123.def-456_x") == "authorization: bearer [redacted]"


def test_the_password_of_a_url_goes_and_the_address_stays() -> None:
    assert redact("postgresql://me:s3cr3t@db:5432/x") == "postgresql://me:[redacted]@db:5432/x"


def test_clean_text_is_returned_as_the_very_object_it_was() -> None:
    assert redact(CLEAN) is CLEAN
    data = json.dumps({"text": CLEAN, "at": 1_700_000_000}).encode()
    assert redact_json(data) is data


@pytest.mark.parametrize("name", ["MY_API_KEY", "db_password", "Token_x", "SECRETS"])
def test_values_of_variables_that_are_named_like_secrets_go(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "correct horse battery")
    refresh()
    assert redact("say correct horse battery now") == "say [redacted] now"


def test_short_values_and_other_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "1234567")
    monkeypatch.setenv("SOME_FOLDER", "a-long-enough-value")
    refresh()
    assert redact("1234567 a-long-enough-value") == "1234567 a-long-enough-value"


def test_a_private_key_that_does_not_end_goes_to_the_end_of_the_text() -> None:
    header = KEYS["pem"].split("\n")[0]
    assert redact(f"key: {header}\nMIIEow\nMIIEow") == "key: [redacted]"


def test_every_secret_of_a_text_goes() -> None:
    text = ", ".join(KEYS.values())
    assert redact(f"{text}; {text}") == "; ".join([", ".join(["[redacted]"] * len(KEYS))] * 2)


def test_of_two_secrets_that_overlap_the_longer_goes_as_a_whole() -> None:
    register_secret("password")
    register_secret("password-and-more")
    assert redact("password-and-more") == "[redacted]"


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_secret_is_found_in_the_spelling_json_gives_it(ascii_only: bool) -> None:
    secret = 'quote" back\\slash\nnew línea'
    register_secret(secret)
    data = json.dumps({"a": f"<{secret}>", secret: 1}, ensure_ascii=ascii_only).encode()
    assert json.loads(redact_json(data)) == {"a": "<[redacted]>", "[redacted]": 1}
    # The same inside of a string that is itself JSON, and in plain text that holds JSON.
    nested = json.dumps({"inner": json.dumps(secret, ensure_ascii=ascii_only)})
    assert json.loads(redact_json(nested.encode())) == {"inner": '"[redacted]"'}
    assert redact(json.dumps(secret, ensure_ascii=ascii_only)) == '"[redacted]"'


def test_letters_spelled_as_escapes_do_not_hide_a_secret() -> None:
    spelled = "".join(f"\\u{ord(letter):04x}" for letter in KEYS["openai"])
    assert redact_json(f'{{"k": "{spelled}"}}'.encode()) == b'{"k": "[redacted]"}'


def test_a_match_that_begins_inside_of_an_escape_leaves_the_escape_alone() -> None:
    register_secret("n12345678")
    assert json.loads(redact_json(b'"\\n12345678"')) == "\n12345678"


def test_numbers_and_structure_are_left_alone() -> None:
    register_secret("12345678")
    register_secret('": true, "')
    assert redact_json(b'{"a": 12345678, "b": true, "c": "12345678"}') == (
        b'{"a": 12345678, "b": true, "c": "[redacted]"}'
    )


_pieces = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            *KEYS.values(),
            "hunter22hunter22",
            '"q\\uote"\n',
            "\\u0073k-",
            "Bearer a1",
            "://a:b@",
            "\\",
        ]
    ),
)
_values = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.lists(_pieces).map("".join),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.lists(_pieces, max_size=3).map("".join), inner, max_size=4)
    ),
    max_leaves=12,
)


def _rewritten(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_rewritten(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {redact(key): _rewritten(item) for key, item in items}
    return value


@given(_values, st.booleans())
@example({"a": "\ud800 " + KEYS["openai"]}, True)
def test_redacted_json_is_valid_and_says_what_redacting_each_string_says(
    value: object, ascii_only: bool
) -> None:
    register_secret("hunter22hunter22")
    register_secret('"q\\uote"\n')
    data = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert json.loads(redact_json(data)) == _rewritten(value)
