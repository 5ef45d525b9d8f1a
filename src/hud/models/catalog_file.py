"""Read what a catalog file says of models and providers: the package's own, and the user's.

What the rows mean together is `catalog`.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from hud._core.errors import InputError, bounded
from hud.models.provider import Dialect

_BYTES_AT_MOST = 4 * 1024 * 1024
# The releases of a model: claude-sonnet-4-5-20250929, gpt-5.2-2025-12-11, claude-…@20250929.
_RELEASE = r"(?:[-@]\d{4}-?\d{2}-?\d{2}|-latest)?"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1, pattern=r"^[^\s\x00-\x1f]+$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ToolName = Name | Literal[False]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ProviderRow(_Row):
    """What a file says of a provider; None where it says nothing."""

    label: str | None = None
    dialect: Annotated[Dialect | None, Field(strict=False)] = None
    base_url: Annotated[str | None, Field(pattern=r"^https?://[^\s/]+")] = None
    url_variable: Variable | None = None
    key_variables: Annotated[list[Variable] | None, BeforeValidator(_listed)] = None
    needs_key: bool | None = None
    prices: str | None = None


class PriceRow(_Row):
    """US dollars per million tokens; the cache costs what `input` does unless said."""

    input: Money
    output: Money
    cache_read: Money | None = None
    cache_write: Money | None = None


class ToolsRow(_Row):
    """What the API calls the tools a model was trained on; False for none."""

    shell: ToolName | None = None
    editor: ToolName | None = None
    memory: ToolName | None = None
    computer: ToolName | None = None


class ModelRow(_Row):
    """What a file says of a model (`name`) or a family of them (`match`)."""

    name: Name | None = None
    match: Name | None = None
    provider: Name | None = None
    dialect: Annotated[Dialect | None, Field(strict=False)] = None
    images: bool | None = None
    reasoning: bool | None = None
    context_window: Annotated[int | None, Field(gt=0)] = None
    tools: ToolsRow = ToolsRow()
    price: PriceRow | None = None

    @model_validator(mode="after")
    def _is_named_once(self) -> Self:
        if (self.name is None) == (self.match is None):
            raise ValueError("a model has either a name or a match")
        return self

    @property
    def shown(self) -> str:
        """The name, or the pattern."""
        return self.name or self.match or ""

    def pattern(self) -> re.Pattern[str]:
        """Return what recognises the names this row is about."""
        if self.name is not None:
            return re.compile(re.escape(self.name) + _RELEASE)
        return re.compile(fnmatch.translate(self.match or ""))


class _File(_Row):
    aliases: dict[str, Name] = Field(default_factory=dict[str, str])
    providers: dict[str, ProviderRow] = Field(default_factory=dict[str, ProviderRow])
    models: list[ModelRow] = Field(default_factory=list[ModelRow])


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """One file, read. `origin` is how messages name it."""

    origin: str
    aliases: dict[str, str]
    providers: dict[str, ProviderRow]
    models: tuple[ModelRow, ...]


def read_file(path: Path) -> CatalogFile:
    """Read a user's file.

    Raises:
        InputError: when it cannot be read, or says something that no catalog can.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES_AT_MOST + 1)
    except OSError as error:
        raise InputError(
            f"the model catalog {bounded(str(path), 300)} cannot be read: {error.strerror}"
        ) from error
    if len(data) > _BYTES_AT_MOST:
        raise InputError(f"the model catalog {bounded(str(path), 300)} is larger than 4 MiB")
    return parse(data, bounded(str(path), 300))


def parse(data: bytes, origin: str) -> CatalogFile:
    """Read the text of a file.

    Raises:
        InputError: naming the line, or the key.
    """
    try:
        parsed = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"the model catalog {origin} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the model catalog {origin} is not TOML: {error}") from error
    except RecursionError as error:
        raise InputError(f"the model catalog {origin} is nested too deeply") from error
    try:
        file = _File.model_validate(parsed)
    except ValidationError as error:
        raise InputError(f"the model catalog {origin}: {_problem(error, parsed)}") from error
    return CatalogFile(origin, dict(file.aliases), dict(file.providers), tuple(file.models))


def _problem(error: ValidationError, parsed: dict[str, Any]) -> str:
    first = error.errors(include_url=False)[0]
    where = _place(first["loc"], parsed)
    if first["type"] == "extra_forbidden":
        return f"{where} is not known here"
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "string_pattern_mismatch":
        is_address = first["loc"][-1] == "base_url"
        reason = "is no HTTP address" if is_address else "has characters it cannot have"
        return f"{where} = {bounded(repr(first['input']))} {reason}"
    reason = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    reason = re.sub(r"a valid dictionary or instance of \w+", "a table", reason)
    given: Any = first["input"]
    said = "" if isinstance(given, dict | list) else f" = {bounded(given)}"
    return f"{where}{said}: {reason}"


def _place(loc: tuple[int | str, ...], parsed: dict[str, Any]) -> str:
    """Return the dotted key; a model is named, for nobody counts rows."""
    parts = [str(part) for part in loc if part not in ("constrained-str", "literal[False]")]
    if len(loc) >= 2 and loc[0] == "models" and isinstance(loc[1], int):
        row: Any = parsed["models"][loc[1]]
        held = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
        name = held.get("name") or held.get("match")
        parts[1] = bounded(repr(name)) if isinstance(name, str) else f"row {loc[1] + 1}"
    return bounded(".".join(parts), 200)
