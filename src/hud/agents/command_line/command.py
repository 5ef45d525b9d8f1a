"""What is known of a command-line agent, as data: how it is started, and how its answer is read.

Running it is `agent`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hud.models.provider import Dialect

PLACEHOLDERS = (
    *("prompt", "prompt_file", "model", "base_url", "token", "socket", "system_prompt"),
    "max_steps",
)
_PLACEHOLDER = re.compile(r"\{(\w+)\}")

AnswerFormat = Literal["text", "last_json", "claude", "codex"]


class CommandLine(BaseModel):
    """One command-line agent.

    In `argv` and the values of `env` these are filled in: `{model}`; `{base_url}`, the address of
    the model API without a version, and `{token}`, its key; `{socket}`, the path of a Unix socket
    where the same API is served; `{prompt}` or `{prompt_file}`, a file that holds it;
    `{system_prompt}` and `{max_steps}`. An argument that names one which there is not in this run
    (no system prompt, no limit) is left out with `argv`'s element before it, where that is a flag.

    Attributes:
        name: As messages call it.
        argv: Program and arguments.
        env: Variables it reads, over the workspace's own.
        dialect: The API it speaks.
        prompt: How it is told the task; `argv` where the arguments hold `{prompt}`.
        answer: How its standard output is read: as it is; its last line that is a JSON object; or
            as Claude Code or Codex stream it.
        answer_keys: In a JSON object, where the answer's text is; the first that is there counts.
        check: Shell command that fails where it is not installed; whether its program is found
            otherwise.
        install: How it gets into the image, as one sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    argv: tuple[str, ...] = Field(min_length=1)
    env: Mapping[str, str] = Field(default_factory=dict[str, str])
    dialect: Dialect = Dialect.CHAT
    prompt: Literal["argv", "stdin", "file"] = "stdin"
    answer: AnswerFormat = "text"
    answer_keys: tuple[str, ...] = ("result", "answer", "content", "text", "message")
    check: str | None = None
    install: str | None = None

    @field_validator("argv", "env")
    @classmethod
    def _names_what_there_is(
        cls, value: tuple[str, ...] | Mapping[str, str]
    ) -> tuple[str, ...] | Mapping[str, str]:
        texts = value.values() if isinstance(value, Mapping) else value
        for text in texts:
            for name in _PLACEHOLDER.findall(text):
                if name not in PLACEHOLDERS:
                    known = ", ".join(f"{{{one}}}" for one in PLACEHOLDERS)
                    raise ValueError(f"{{{name}}} is no placeholder (known: {known})")
        return value

    @property
    def uses_socket(self) -> bool:
        """Whether it reaches the model API by a Unix socket."""
        return any("{socket}" in text for text in (*self.argv, *self.env.values()))

    def arguments(self, values: Mapping[str, str]) -> list[str]:
        """Return the program and its arguments, filled in."""
        filled: list[str] = []
        for text in self.argv:
            if all(name in values for name in _names(text)):
                filled.append(_filled(text, values))
            elif filled and filled[-1].startswith("-") and len(filled) > 1:
                filled.pop()
        return filled

    def variables(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return the variables, filled in; one that names what there is not is left out."""
        return {
            name: _filled(text, values)
            for name, text in self.env.items()
            if all(one in values for one in _names(text))
        }


def _names(text: str) -> list[str]:
    return [name for name in _PLACEHOLDER.findall(text) if name in PLACEHOLDERS]


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)
