"""What is known of a model by its name: who serves it, in which dialect, and what it can do.

The knowledge is data: `catalog.toml` beside this module, and over it the user's `models.toml` in
the folder `HUD_HOME` names and the file the variable HUD_MODELS_FILE names. Reading them is
`catalog_file`; what a platform serves beyond them is `gateway`, what a call costs `prices`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from hud._core.errors import InputError, bounded
from hud._core.paths import hud_home
from hud.models.catalog_file import CatalogFile, ModelRow, ProviderRow, ToolsRow, parse, read_file
from hud.models.provider import ANTHROPIC, GOOGLE, OPENAI, Dialect, ModelProvider

FILE_NAME = "models.toml"
FILE_VARIABLE = "HUD_MODELS_FILE"

AgentKind = Literal["claude", "openai", "gemini", "openai_compatible"]
AGENT_KINDS: dict[Dialect, AgentKind] = {
    Dialect.MESSAGES: "claude",
    Dialect.RESPONSES: "openai",
    Dialect.GEMINI: "gemini",
    Dialect.CHAT: "openai_compatible",
}


class UnknownModel(InputError):
    """No catalog knows a model of that name."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens; the cache costs None where it costs what `input` does."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None


@dataclass(frozen=True, slots=True)
class NativeTools:
    """What the API calls the tools a model was trained on; None where a function has to do."""

    shell: str | None = None
    editor: str | None = None
    memory: str | None = None
    computer: str | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model, as far as it is known.

    Attributes:
        name: What the API is sent.
        asked: What it was called by, which an alias or a provider's prefix may differ from.
        images: Whether it takes pictures; None where nobody said.
        reasoning: Whether it thinks before it answers; None where nobody said.
        context_window: Tokens of prompt and answer together, None where that is not published.
        price: What the user's own file says it costs.
        is_hosted: Only the platform knows it, so that it is asked for through its gateway.
    """

    name: str
    asked: str
    dialect: Dialect
    provider: ModelProvider
    images: bool | None = None
    reasoning: bool | None = None
    context_window: int | None = None
    tools: NativeTools = NativeTools()
    price: Price | None = None
    is_hosted: bool = False

    @property
    def agent_kind(self) -> AgentKind:
        """The agent that drives it, as the command line calls agents."""
        return AGENT_KINDS[self.dialect]


class Catalog:
    """Rows of several files as one: of two that say something, the later file and upper row wins.

    Attributes:
        providers: By name.
        aliases: Other names for models.
        names: Of the models that are known one by one, in the order of the files.
        families: Patterns that stand for any model of a provider.
    """

    def __init__(self, files: Sequence[CatalogFile]) -> None:
        self.aliases: dict[str, str] = {}
        self.providers = {row.name: row for row in (ANTHROPIC, OPENAI, GOOGLE)}
        for file in files:
            self.aliases |= file.aliases
            for name, row in file.providers.items():
                self.providers[name] = _laid_over(self.providers.get(name), name, row, file.origin)
        rows = [(row, file.origin) for file in reversed(files) for row in file.models]
        for row, origin in rows:
            if row.provider is not None and row.provider not in self.providers:
                raise InputError(
                    f"the model catalog {origin}: models.{row.shown!r} names the provider "
                    f"{bounded(row.provider)!r}, which there is not",
                    hint=f"known: {', '.join(self.providers)}; or add [providers.{row.provider}]",
                )
        self._rows = [(row.pattern(), row) for row, _ in rows]
        self.names = list(dict.fromkeys(row.name for row, _ in rows if row.name is not None))
        self.families = [row.match for row, _ in rows if row.match and row.provider]
        self._found: dict[str, ModelInfo] = {}

    def resolve(self, name: str) -> ModelInfo:
        """Return what is known of a model.

        `name` is an alias, a model's name, or `PROVIDER/NAME` for any model of that provider.

        Raises:
            UnknownModel: naming models that are called nearly so, and how to add one.
        """
        found = self._found.get(name)
        if found is None:
            found = self._resolved(name)
            if len(self._found) < 10_000:
                self._found[name] = found
        return found

    def _resolved(self, name: str) -> ModelInfo:
        wanted = self.aliases.get(name, name)
        if not wanted.isprintable() or " " in wanted:
            raise self._unknown(name)
        rows = self._about(wanted)
        provider = _first(row.provider for row in rows)
        if provider is not None:
            return _info(wanted, name, self.providers[provider], rows)
        prefix, slash, rest = wanted.partition("/")
        if slash and rest.strip() and prefix in self.providers:
            rows = [row for row in self._about(rest) if self._is_served(rest, row, prefix)]
            return _info(rest, name, self.providers[prefix], rows)
        if rows:
            raise UnknownModel(
                f"the model catalog does not say who serves {bounded(wanted)!r}",
                hint=f"give its row in {_user_file_shown()} a provider, or ask for PROVIDER/NAME",
            )
        raise self._unknown(name)

    def _about(self, name: str) -> list[ModelRow]:
        return [row for pattern, row in self._rows if pattern.fullmatch(name)]

    def _is_served(self, name: str, row: ModelRow, provider: str) -> bool:
        """Whether a row speaks of a provider's model rather than of its namesake elsewhere."""
        served_by = row.provider or _first(other.provider for other in self._about(name))
        return served_by is None or served_by == provider

    def _unknown(self, name: str) -> UnknownModel:
        known = {known.lower(): known for known in (*self.names, *self.aliases)}
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
        meant = f"did you mean {' or '.join(known[match] for match in near)}? " if near else ""
        return UnknownModel(
            f"no model {bounded(name)!r} is known",
            hint=f"{meant}any model of a provider is PROVIDER/NAME (hud models lists both); one on "
            f"another server: openai_compatible --model {bounded(name, 60) or 'NAME'} "
            f"--config base_url=http://…/v1, or a [[models]] row in {_user_file_shown()}",
        )

    def provider_at(self, base_url: str) -> ModelProvider | None:
        """Return the provider whose own address is on that host and port, None for no known one."""
        host = _host(base_url)
        return next((row for row in self.providers.values() if _host(row.base_url) == host), None)


def resolve_model(name: str) -> ModelInfo:
    """Return what the catalog of this machine knows of a model.

    Raises:
        UnknownModel: naming models that are called nearly so, and how to add one.
        InputError: when the user's own file cannot be used.
    """
    return load_catalog().resolve(name)


def load_catalog() -> Catalog:
    """Return the catalog as it is now; a file is read again only when it changed.

    Raises:
        InputError: when a user's file cannot be read, or says something that no catalog can.
    """
    global _loaded  # noqa: PLW0603 -- one cached value, replaced as a whole
    own = _own_file()
    named = os.environ.get(FILE_VARIABLE, "").strip()
    other = Path(named).expanduser() if named else None
    key = (own, _stamp(own), other, _stamp(other) if other else None)
    if _loaded is not None and _loaded[0] == key:
        return _loaded[1]
    files = [_built_in()]
    if key[1] is not None:
        files.append(read_file(own))
    if other is not None:
        files.append(read_file(other))
    catalog = Catalog(files)
    _loaded = (key, catalog)
    return catalog


_loaded: tuple[Any, Catalog] | None = None


@cache
def _built_in() -> CatalogFile:
    data = resources.files("hud.models").joinpath("catalog.toml").read_bytes()
    return parse(data, "of this package")


def _own_file() -> Path:
    return hud_home(create=False) / FILE_NAME


def _user_file_shown() -> str:
    return bounded(str(_own_file()), 200)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file does, None when there is no such file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _laid_over(
    known: ModelProvider | None, name: str, row: ProviderRow, origin: str
) -> ModelProvider:
    said: dict[str, Any] = {
        key: value for key in ProviderRow.model_fields if (value := getattr(row, key)) is not None
    }
    if "key_variables" in said:
        said["key_variables"] = tuple(said["key_variables"])
    if known is not None:
        return replace(known, **said)
    if "base_url" not in said:
        raise InputError(f"the model catalog {origin}: providers.{bounded(name)} has no base_url")
    said.setdefault("needs_key", bool(said.get("key_variables")))
    fields: dict[str, Any] = {"name": name, "label": name, "dialect": Dialect.CHAT, **said}
    return ModelProvider(**fields)


def _info(name: str, asked: str, provider: ModelProvider, rows: Sequence[ModelRow]) -> ModelInfo:
    price = _first(row.price for row in rows)
    dialect = _first(row.dialect for row in rows) or provider.dialect
    return ModelInfo(
        name=name,
        asked=asked,
        dialect=dialect,
        provider=provider,
        images=_first(row.images for row in rows),
        reasoning=_first(row.reasoning for row in rows),
        context_window=_first(row.context_window for row in rows),
        tools=NativeTools() if dialect is Dialect.CHAT else _tools(rows),
        price=None if price is None else Price(**price.model_dump()),
    )


def _tools(rows: Sequence[ModelRow]) -> NativeTools:
    named = {
        tool: _first(getattr(row.tools, tool) for row in rows) for tool in ToolsRow.model_fields
    }
    return NativeTools(**{tool: name or None for tool, name in named.items()})


def _first(values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _host(url: str) -> str:
    return re.sub(r"^https?://(?:[^/@]*@)?", "", url).partition("/")[0].lower()
