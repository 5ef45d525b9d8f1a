"""Providers of models over the API: added, tried and removed by who may manage the team."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field, SecretStr
from sqlalchemy import Connection

from hud.platform.accounts import audit
from hud.platform.errors import not_found
from hud.platform.gateway.probe import probe
from hud.platform.gateway.providers import (
    ModelWanted,
    ProviderDialect,
    put_provider,
    read_models,
    read_providers,
    remove_provider,
)
from hud.platform.gateway.served import OpenProvider
from hud.platform.identity import Admin, Caller, Reader
from hud.platform.routes.asked import refusals
from hud.platform.routes.models import gateway_of
from hud.platform.services import services_of
from hud.platform.times import iso_required

router = APIRouter(prefix="/v2/providers", tags=["providers"])

Name = Annotated[str, Path(max_length=64)]


class ListedModel(BaseModel):
    """A model by the name clients ask for, and what its provider is asked for in its place."""

    name: str = Field(min_length=1, max_length=256)
    upstream_name: str | None = Field(default=None, max_length=256)


class ProviderItem(BaseModel):
    """A provider. Whether it has a key is told, never the key."""

    name: str
    dialect: ProviderDialect
    base_url: str
    has_key: bool
    models: list[ListedModel]
    created_at: str
    updated_at: str


class ProviderPage(BaseModel):
    """All providers of the team, oldest first."""

    items: list[ProviderItem]
    total: int


class ProviderWanted(BaseModel):
    """A provider to keep. Without models it serves any of its own."""

    dialect: ProviderDialect
    base_url: str = Field(max_length=2000)
    api_key: SecretStr | None = Field(default=None, max_length=2000)
    models: list[ListedModel] = Field(default_factory=list[ListedModel], max_length=10_000)


class ProviderRemoved(BaseModel):
    """A provider that is gone."""

    name: str


class ProviderTried(BaseModel):
    """What came of asking a provider for its models."""

    ok: bool
    status: int | None
    models: int | None
    detail: str


@router.get("", responses=refusals())
def list_providers(request: Request, caller: Reader) -> ProviderPage:
    """List the team's providers."""
    with services_of(request).database.reading() as connection:
        items = _items(connection, caller.team)
    return ProviderPage(items=items, total=len(items))


@router.put("/{name}", responses=refusals(400))
def keep_provider(
    request: Request, caller: Admin, name: Name, wanted: ProviderWanted
) -> ProviderItem:
    """Add a provider, or replace the one of that name with its key and its models."""
    services = services_of(request)
    key = wanted.api_key.get_secret_value() if wanted.api_key is not None else None
    models = [ModelWanted(each.name, each.upstream_name or each.name) for each in wanted.models]
    with services.database.writing() as connection:
        put_provider(
            connection,
            services.secrets,
            caller.team,
            name=name,
            dialect=wanted.dialect,
            base_url=wanted.base_url,
            key=key,
            wanted=models,
        )
        audit.note(connection, caller.team, caller.name, "provider.put", name)
        [item] = [item for item in _items(connection, caller.team) if item.name == name]
    gateway_of(request).directory.forget(caller.team)
    return item


@router.delete("/{name}", responses=refusals(404))
def delete_provider(request: Request, caller: Admin, name: Name) -> ProviderRemoved:
    """Remove a provider with its key and its models; calls under way end as they are."""
    with services_of(request).database.writing() as connection:
        if not remove_provider(connection, caller.team, name):
            not_found("provider", name)
        audit.note(connection, caller.team, caller.name, "provider.remove", name)
    gateway_of(request).directory.forget(caller.team)
    return ProviderRemoved(name=name)


@router.post("/{name}/test", responses=refusals(404))
async def try_provider(request: Request, caller: Admin, name: Name) -> ProviderTried:
    """Ask a provider for its models with the key that is kept, which costs nothing."""
    gateway = gateway_of(request)
    provider = await _open(request, caller, name)
    tried = await probe(gateway.upstream, provider)
    return ProviderTried(ok=tried.ok, status=tried.status, models=tried.models, detail=tried.detail)


async def _open(request: Request, caller: Caller, name: str) -> OpenProvider:
    served = await gateway_of(request).directory.served(caller.team, newest=True)
    provider = served.providers.get(name)
    if provider is None:
        not_found("provider", name)
    return provider


def _items(connection: Connection, team: str) -> list[ProviderItem]:
    models = read_models(connection, team)
    return [
        ProviderItem(
            name=row.name,
            dialect=row.dialect,
            base_url=row.base_url,
            has_key=row.secret is not None,
            models=[
                ListedModel(name=model.name, upstream_name=model.upstream)
                for model in models
                if model.provider == row.name
            ],
            created_at=iso_required(row.created_at),
            updated_at=iso_required(row.updated_at),
        )
        for row in read_providers(connection, team)
    ]
