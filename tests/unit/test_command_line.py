"""Rows of command-line agents: what is filled in, and what is read of what their programs print."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from hud.agents.command_line.answers import Answer, read_answer
from hud.agents.command_line.claude import CLAUDE_CODE, ClaudeCLIConfig
from hud.agents.command_line.codex import CODEX, CodexCLIConfig
from hud.agents.command_line.command import CommandLine

VALUES = {"model": "m", "token": "t", "base_url": "http://127.0.0.1:4000"}


def row(**settings: Any) -> CommandLine:
    return CommandLine.model_validate({"name": "Own", "argv": ["own"], **settings})


def lines(*objects: Any) -> str:
    return "\n".join(json.dumps(one) if not isinstance(one, str) else one for one in objects)


def test_placeholders_are_filled_in_once() -> None:
    command = row(argv=["own", "--task={prompt}", "{{model}}", '{"json": 1}'])
    filled = command.arguments({**VALUES, "prompt": "say {token} and {model}"})
    assert filled == ["own", "--task=say {token} and {model}", "{m}", '{"json": 1}']


def test_what_there_is_not_is_left_out_with_its_flag() -> None:
    command = row(argv=["own", "--turns", "{max_steps}", "-q", "--system={system_prompt}", "go"])
    assert command.arguments({**VALUES, "max_steps": "3"}) == ["own", "--turns", "3", "go"]
    assert row(env={"A": "{socket}", "B": "{token}"}).variables(VALUES) == {"B": "t"}


@pytest.mark.parametrize("setting", [{"argv": ["own", "{modle}"]}, {"env": {"A": "{key}"}}])
def test_an_unknown_placeholder_is_named_with_the_known(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"is no placeholder \(known: {prompt}"):
        row(**setting)


def test_a_program_is_needed() -> None:
    with pytest.raises(ValidationError):
        row(argv=[])


def test_only_a_row_that_names_the_socket_uses_one() -> None:
    assert row(argv=["own", "--unix", "{socket}"]).uses_socket
    assert row(env={"API": "unix:{socket}"}).uses_socket
    assert not CLAUDE_CODE.uses_socket and not CODEX.uses_socket


def test_claude_code_is_told_limits_and_instructions_where_there_are_any() -> None:
    plain = CLAUDE_CODE.arguments(VALUES)
    assert "--max-turns" not in plain and "--append-system-prompt" not in plain
    told = CLAUDE_CODE.arguments({**VALUES, "max_steps": "7", "system_prompt": "Be kind."})
    assert told[told.index("--max-turns") + 1] == "7"
    assert told[told.index("--append-system-prompt") + 1] == "Be kind."
    assert ClaudeCLIConfig(allowed_tools=["Read"]).further_arguments()[-1] == "Read"


def test_codex_is_told_a_provider_of_its_own() -> None:
    words = CODEX.arguments(VALUES)
    settings = [words[at + 1] for at, word in enumerate(words) if word == "-c"]
    assert 'model_providers.hud.base_url="http://127.0.0.1:4000/v1"' in settings
    assert not any("developer_instructions" in setting for setting in settings)
    assert "t" not in words, "the token is told by a variable"
    config = CodexCLIConfig(reasoning_effort="high", settings={"a.b": "1"})
    assert config.further_arguments() == ["-c", "a.b=1", "-c", 'model_reasoning_effort="high"', "-"]


def test_text_is_the_answer_as_it_is() -> None:
    assert read_answer(row(), "\n It is done.\n") == Answer("It is done.")


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (lines({"answer": "early"}, "noise", {"answer": "late"}, "more noise"), "late"),
        (lines({"other": 1, "content": "by another key"}), "by another key"),
        (lines({"answer": 5}), ""),
        ("no json {at all", "no json {at all"),
        ("", ""),
    ],
)
def test_the_last_line_that_is_an_object_is_the_answer(output: str, text: str) -> None:
    assert read_answer(row(answer="last_json"), output) == Answer(text)


def assistant(text: str, model: str = "m") -> dict[str, Any]:
    content = [{"type": "thinking"}, {"type": "text", "text": text}]
    return {"type": "assistant", "message": {"model": model, "content": content}}


def result(**fields: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, **fields}


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (lines(assistant("hm"), result(result="Done.")), Answer("Done.")),
        (
            lines(assistant("hm"), result(subtype="error_max_turns", is_error=True)),
            Answer("hm", stop_reason="max_steps"),
        ),
        (
            lines(
                assistant("hm"),
                assistant("API Error: 500", "<synthetic>"),
                result(is_error=True, result="API Error: 500"),
            ),
            Answer("hm", error="API Error: 500"),
        ),
        (
            lines(result(subtype="error_during_execution", is_error=True, errors=["a", "b"])),
            Answer(error="a; b"),
        ),
        (lines(assistant("so far"), '{"type": "assi'), Answer("so far")),
        (lines("[1]", '{"type": "assistant", "message": []}', "{"), Answer()),
        ("", Answer()),
    ],
)
def test_claude_codes_result_comes_last(output: str, answer: Answer) -> None:
    assert read_answer(CLAUDE_CODE, output) == answer


def message(text: str) -> dict[str, Any]:
    return {"type": "item.completed", "item": {"type": "agent_message", "text": text}}


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (lines(message("hm"), message("Done."), {"type": "turn.completed"}), Answer("Done.")),
        (
            lines(message("hm"), {"type": "error", "message": "reconnecting"}, message("Done.")),
            Answer("Done."),
        ),
        (
            lines(message("hm"), {"type": "turn.failed", "error": {"message": "no model"}}),
            Answer("hm", error="no model"),
        ),
        (lines({"type": "turn.failed"}), Answer(error="its turn failed")),
        (lines({"type": "item.completed", "item": "odd"}, "noise"), Answer()),
    ],
)
def test_codexs_newest_message_is_its_answer(output: str, answer: Answer) -> None:
    assert read_answer(CODEX, output) == answer
