"""The models a team can call, over the API."""

from __future__ import annotations

import asyncio
from typing import Annotated, NoReturn
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict

from hud._core.errors import InputError
from hud._core.ids import normal_id
from hud.models.asgi import Refusal
from hud.models.prices import price_of
from hud.models.provider import ANTHROPIC, GOOGLE
from hud.platform.errors import ApiError
from hud.platform.gateway.app import Gateway
from hud.platform.gateway.served import Served, ServedModel
from hud.platform.identity import Caller, Reader, Recorder
from hud.platform.routes.asked import Limit, Offset, Search, refusals
from hud.platform.times import iso_required

router = APIRouter(prefix="/v2/models", tags=["models"])

ModelId = Annotated[str, Path(max_length=300, description="The id or the name of a model.")]
_SPOKEN = {"anthropic": ANTHROPIC.name, "gemini": GOOGLE.name, "openai": None}


class _Shape(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class ModelProviderItem(_Shape):
    """Who serves a model, by the name its provider has here."""

    name: str


class PriceItem(_Shape):
    """US dollars per million tokens; the cache costs what `input` does where it has no price."""

    input: float
    output: float
    cache_read: float | None
    cache_write: float | None


class ModelItem(_Shape):
    """A model.

    Attributes:
        model_name: What the gateway is asked for.
        sdk_agent_type: The agent that drives it.
        price: Null where it is not known.
    """

    id: UUID
    name: str
    model_name: str
    upstream_name: str
    sdk_agent_type: str
    is_trainable: bool
    provider: ModelProviderItem
    context_window: int | None
    images: bool | None
    reasoning: bool | None
    price: PriceItem | None
    created_at: str
    released_at: str | None = None
    deprecated_at: str | None = None


class ModelPage(_Shape):
    """Models: those that providers list, then what is known of the other providers."""

    items: list[ModelItem]
    total: int


class ModelFound(_Shape):
    """The model a name means."""

    id: UUID
    name: str
    model_name: str


class Checkpoint(_Shape):
    """A state of a model that was trained here; there is none without a training service."""

    id: str


class ForkWanted(_Shape):
    """A model to make of another."""

    source_model_id: str
    name: str


class HeadWanted(_Shape):
    """The checkpoint to serve."""

    checkpoint_id: str


def gateway_of(request: Request) -> Gateway:
    """Return the gateway of the app that `request` came to."""
    return request.app.state.gateway


@router.get("", responses=refusals())
async def list_models(
    request: Request,
    caller: Reader,
    search: Search = "",
    limit: Limit | None = None,
    offset: Offset = 0,
) -> ModelPage:
    """List the models the gateway serves to the team; all of them unless `limit` is sent."""
    models = (await _served(request, caller)).models()
    if search:
        models = [model for model in models if search.lower() in model.name.lower()]
    page = models[offset:] if limit is None else models[offset : offset + limit]
    items = await asyncio.to_thread(lambda: [_item(model) for model in page])
    return ModelPage(items=items, total=len(models))


@router.get("/resolve", responses=refusals(404))
async def resolve_model(
    request: Request, caller: Reader, model: Annotated[str, Query(max_length=300)]
) -> ModelFound:
    """Return which model a name, an alias such as `claude`, or an id means."""
    found = _named(await _served(request, caller), model)
    return ModelFound(id=UUID(found.id), name=found.name, model_name=found.name)


@router.post("/fork", response_model=None, responses=refusals(501))
def fork_model(caller: Recorder, wanted: ForkWanted) -> NoReturn:
    """Say that no model can be forked here."""
    _no_training()


@router.get("/{model_id:path}/checkpoints", responses=refusals(404))
async def list_checkpoints(request: Request, caller: Reader, model_id: ModelId) -> list[Checkpoint]:
    """List the checkpoints of a model: none, for nothing is trained here."""
    _named(await _served(request, caller), model_id)
    return []


@router.put("/{model_id:path}/head", response_model=None, responses=refusals(404, 501))
async def set_head(
    request: Request, caller: Recorder, model_id: ModelId, wanted: HeadWanted
) -> NoReturn:
    """Say that no model has another checkpoint here."""
    _named(await _served(request, caller), model_id)
    _no_training()


@router.get("/{model_id:path}", responses=refusals(404))
async def get_model(request: Request, caller: Reader, model_id: ModelId) -> ModelItem:
    """Return one model."""
    found = _named(await _served(request, caller), model_id)
    return await asyncio.to_thread(_item, found)


async def _served(request: Request, caller: Caller) -> Served:
    return await gateway_of(request).directory.served(caller.team, newest=True)


def _named(served: Served, name: str) -> ServedModel:
    wanted = normal_id(name)
    models = served.models()
    for model in models:
        if wanted == model.id or name == model.name:
            return model
    try:
        route = served.resolve(name)
    except Refusal as refusal:
        if refusal.status == 404:
            raise ApiError(404, refusal.message, kind="not_found") from None
        raise ApiError(refusal.status, refusal.message, kind=refusal.code) from None
    for model in models:
        if (model.name, model.provider.name) == (route.model, route.provider.name):
            return model
    return served.described(route)


def _item(model: ServedModel) -> ModelItem:
    info, provider = model.info, model.provider
    behind = provider.endpoint.provider or _SPOKEN[provider.dialect]
    try:
        price = price_of(behind, model.upstream)
    except InputError:  # the user's own catalog cannot be read
        price = None
    return ModelItem(
        id=UUID(model.id),
        name=model.name,
        model_name=model.name,
        upstream_name=model.upstream,
        sdk_agent_type=model.agent_kind,
        is_trainable=model.is_trainable,
        provider=ModelProviderItem(name=provider.name),
        context_window=info.context_window if info else None,
        images=info.images if info else None,
        reasoning=info.reasoning if info else None,
        price=PriceItem(
            input=price.input,
            output=price.output,
            cache_read=price.cache_read,
            cache_write=price.cache_write,
        )
        if price
        else None,
        created_at=iso_required(model.created_at),
    )


def _no_training() -> NoReturn:
    raise ApiError(
        501,
        "this platform has no training service, so a model has one state",
        kind="not_available",
        hint="serve the trained model and list it: hud providers add … --model NAME",
    )
