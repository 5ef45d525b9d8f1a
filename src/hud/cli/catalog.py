"""What `hud models` shows of the catalog; no key is ever among it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hud._core.errors import InputError
from hud._core.settings import Settings, read_settings
from hud.cli import streams
from hud.cli.render import NOT_AVAILABLE
from hud.cli.tables import pairs, table
from hud.models.catalog import ModelInfo, load_catalog
from hud.models.endpoint import Endpoint, endpoint_for, held_key
from hud.models.gateway import find_model, list_gateway_models
from hud.models.prices import price_of
from hud.models.provider import ModelProvider


def list_models(*, as_json: bool) -> None:
    """Show the models that are known one by one, and how others are named."""
    catalog, settings = load_catalog(), read_settings()
    models = [catalog.resolve(name) for name in catalog.names if _is_served(name)]
    if as_json:
        streams.write_json(
            {
                "models": [_model_data(model, settings) for model in models],
                "aliases": catalog.aliases,
                "families": catalog.families,
                "providers": [_provider_data(row, settings) for row in catalog.providers.values()],
            }
        )
        return
    header = ("MODEL", "DIALECT", "PROVIDER", "KEY", "SET", "CONTEXT", "IN $/M", "OUT $/M")
    rows = [_model_row(model, settings) for model in models]
    streams.write(table(header, rows, right=(5, 6, 7), width=streams.stdout_width()))
    aliases = ", ".join(f"{alias} = {name}" for alias, name in catalog.aliases.items())
    streams.note(f"other names: {aliases}")
    streams.note(f"also any name like {', '.join(catalog.families)}")
    streams.note(f"also PROVIDER/NAME, the provider one of {', '.join(catalog.providers)}")


def list_platform(*, as_json: bool) -> None:
    """Show what the configured platform serves."""
    models = list_gateway_models()
    if as_json:
        streams.write_json({"models": [model.model_dump(mode="json") for model in models]})
        return
    header = ("MODEL", "NAME", "AGENT", "PROVIDER", "TRAINABLE", "ID")
    rows = [
        (
            model.model_name,
            model.name or "",
            model.sdk_agent_type or "",
            model.provider.name or "",
            "yes" if model.is_trainable else "no",
            model.id,
        )
        for model in models
    ]
    streams.write(table(header, rows, width=streams.stdout_width(), shrink=1))


def show_model(name: str, *, as_json: bool) -> None:
    """Show one model, of the platform where only that knows it."""
    model, settings = find_model(name), read_settings()
    data = _model_data(model, settings)
    place = _place(model)
    if as_json:
        streams.write_json({**data, "asked": model.asked, "base_url": place and place.shown})
        return
    price = price_of(model.provider.name, model.name)
    tools = {tool: called for tool, called in asdict(model.tools).items() if called}
    rows = [
        ("model", model.name),
        ("dialect", model.dialect.value),
        ("agent", model.agent_kind),
        ("provider", model.provider.name),
        ("key", _key_shown(model.provider, settings)),
        ("asked at", place.shown if place else NOT_AVAILABLE),
        ("context", _tokens(model.context_window)),
        ("images", _yes_no(model.images)),
        ("reasoning", _yes_no(model.reasoning)),
        *((f"{tool} tool", called) for tool, called in tools.items()),
        ("input", _rate(price and price.input)),
        ("cache read", _rate(price and price.cache_read)),
        ("cache write", _rate(price and price.cache_write)),
        ("output", _rate(price and price.output)),
    ]
    streams.write(pairs(rows))


def _is_served(name: str) -> bool:
    """Whether the row of a name says, or inherits, who serves it."""
    try:
        load_catalog().resolve(name)
    except InputError:
        return False
    return True


def _place(model: ModelInfo) -> Endpoint | None:
    """Return where the model would be asked for, None where a key or an address is missing."""
    try:
        return endpoint_for(model.provider, gateway=True if model.is_hosted else None)
    except InputError as error:
        streams.note(error.message)
        if error.hint:
            streams.note(f"hint: {error.hint}")
        return None


def _model_row(model: ModelInfo, settings: Settings) -> tuple[str, ...]:
    held = held_key(settings, model.provider)
    variables = model.provider.key_variables
    price = price_of(model.provider.name, model.name)
    return (
        model.name,
        model.dialect.value,
        model.provider.name,
        held.variable if held else variables[0] if variables else "",
        "yes" if held else "no" if model.provider.needs_key else "no need",
        _tokens(model.context_window),
        _amount(price and price.input),
        _amount(price and price.output),
    )


def _model_data(model: ModelInfo, settings: Settings) -> dict[str, Any]:
    price = price_of(model.provider.name, model.name)
    held = held_key(settings, model.provider)
    return {
        "name": model.name,
        "dialect": model.dialect.value,
        "agent": model.agent_kind,
        "provider": model.provider.name,
        "key_variable": held.variable if held else next(iter(model.provider.key_variables), None),
        "key_set": held is not None,
        "needs_key": model.provider.needs_key,
        "context_window": model.context_window,
        "images": model.images,
        "reasoning": model.reasoning,
        "tools": asdict(model.tools),
        "price_usd_per_million": asdict(price) if price else None,
        "hosted": model.is_hosted,
    }


def _provider_data(provider: ModelProvider, settings: Settings) -> dict[str, Any]:
    return {
        "name": provider.name,
        "dialect": provider.dialect.value,
        "base_url": Endpoint(provider.base_url, "").shown,
        "url_variable": provider.url_variable,
        "key_variables": list(provider.key_variables),
        "key_set": held_key(settings, provider) is not None,
        "needs_key": provider.needs_key,
    }


def _key_shown(provider: ModelProvider, settings: Settings) -> str:
    held = held_key(settings, provider)
    if held is not None:
        return f"{held.variable} (set)"
    if not provider.needs_key:
        return "none needed"
    return f"{provider.key_variables[0]} (not set)" if provider.key_variables else NOT_AVAILABLE


def _tokens(value: int | None) -> str:
    return NOT_AVAILABLE if value is None else f"{value:,}"


def _amount(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{value:.4g}"


def _rate(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"${value:.4g} per million tokens"


def _yes_no(value: bool | None) -> str:
    return NOT_AVAILABLE if value is None else "yes" if value else "no"
