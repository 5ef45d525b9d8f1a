"""Whether a provider answers with the key that is kept: asked for its models, which is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from hud._core import json
from hud._core.errors import InputError, bounded
from hud.models.asgi import Refusal
from hud.models.failure import excerpt
from hud.models.passed_on import Outgoing
from hud.models.provider import Dialect
from hud.models.wire import Asked
from hud.platform.database import Database
from hud.platform.gateway.directory import Directory
from hud.platform.gateway.providers import ProviderDialect
from hud.platform.gateway.served import OpenProvider, Route
from hud.platform.gateway.upstream import Upstream
from hud.platform.secrets import SecretBox

_TIMEOUT_S = 20.0
_DIALECTS: dict[ProviderDialect, Dialect] = {
    "openai": Dialect.CHAT,
    "anthropic": Dialect.MESSAGES,
    "gemini": Dialect.GEMINI,
}
_ANTHROPIC_VERSION = "2023-06-01"


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it. `models` is how many the provider lists, None where it lists none."""

    ok: bool
    status: int | None
    models: int | None
    detail: str


async def probe(upstream: Upstream, provider: OpenProvider) -> Tried:
    """Ask a provider for its models."""
    if provider.problem is not None:
        return Tried(False, None, None, provider.problem)
    asked = Asked(_DIALECTS[provider.dialect], "list", "/models", "", "")
    headers = asked.request_headers({}, provider.endpoint)
    if provider.dialect == "anthropic":
        headers["anthropic-version"] = _ANTHROPIC_VERSION
    outgoing = Outgoing("GET", asked.url(provider.endpoint), headers, b"")
    try:
        status, body = await upstream.get(outgoing, Route("", "", provider), timeout_s=_TIMEOUT_S)
    except Refusal as refusal:
        return Tried(False, None, None, refusal.message)
    if status == 200:
        count = _count(body)
        said = "it answers" if count is None else f"it answers and lists {count} models"
        return Tried(True, status, count, said)
    hint = "the key is refused" if status in (401, 403) else excerpt(_read(body))
    if status == 404 and provider.dialect == "openai":
        hint = "no list of models there; the address usually ends with /v1"
    return Tried(False, status, None, f"status {status}: {hint}")


async def probe_kept(database: Database, box: SecretBox, team: str, name: str) -> Tried:
    """Ask a provider that is kept, without a server running.

    Raises:
        InputError: when the team has none of that name.
        StoreError: when the database cannot be read.
    """

    async def offers_nothing(provider: OpenProvider) -> tuple[str, ...]:
        return ()

    served = await Directory(database, box, offers=offers_nothing).served(team)
    provider = served.providers.get(name)
    if provider is None:
        raise InputError(
            f"there is no provider {bounded(name)!r}", hint="hud providers list shows them"
        )
    async with Upstream() as upstream:
        return await probe(upstream, provider)


def _count(body: bytes) -> int | None:
    read = _read(body)
    held = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
    listed: Any = held.get("data") or held.get("models")
    return len(cast("list[Any]", listed)) if isinstance(listed, list) else None


def _read(body: bytes) -> Any:
    try:
        return json.decode(body)
    except ValueError:
        return body
