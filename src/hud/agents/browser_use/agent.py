"""`BrowserUseAgent`: the browser-use harness at work in an environment's browser.

The interpreter it runs in is `process`, its steps are `steps`; browser-use itself is imported by
`worker` alone.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from hud._core import json
from hud._core.errors import AgentFault, CapabilityFault, InputError, bounded
from hud._core.redact import redact
from hud.agents.base import Agent
from hud.agents.browser_use.events import (
    Acted,
    Broken,
    CallTokens,
    Ended,
    Started,
    Stumbled,
    Turned,
    read_event,
)
from hud.agents.browser_use.process import Worker, browser_use_version, python_for, started
from hud.agents.browser_use.steps import StepRecorder
from hud.agents.run import Run
from hud.agents.tool_agent import setting_problem
from hud.agents.types import BrowserUseConfig
from hud.models.catalog import ModelInfo, UnknownModel
from hud.models.endpoint import Endpoint, endpoint_for
from hud.models.failure import CallFailure, ContextOverflow, excerpt
from hud.models.gateway import find_model
from hud.models.provider import OPENAI, Dialect
from hud.protocol.capability import Capability

MODEL_TIMEOUT_S = 600.0
"""How long one answer of the model may take, further attempts included."""

_NOT_FOR_ROWS = ("api_key", "base_url", "gateway", "python")
_NO_LIMIT = 1_000_000
_VERSION = re.compile(r"(.+)/(v\d+\w*)")


class BrowserUseAgent(Agent[BrowserUseConfig]):
    """Browser-use, driving the environment's browser over its `cdp` capability as it is.

    Each run has a process of its own, in an interpreter that has browser-use (0.13 or newer): the
    setting `python`, else the variable HUD_BROWSER_USE_PYTHON, else this one. It gets the task,
    the browser's address and the model's key over a pipe, and reports each step as it happens.
    Telemetry, cloud, extensions and everything else that would reach beyond the model and the
    browser is off. The browser is left as the last step left it, for the grader.

    The model is asked through browser-use's own clients: Messages and Gemini models in their
    dialect, all others over Chat Completions.
    """

    config_cls = BrowserUseConfig

    @property
    def name(self) -> str:
        return "browser_use"

    @property
    def endpoint(self) -> Endpoint:
        """Where the model is asked.

        Raises:
            InputError: when the model is unknown, or its address or key missing or malformed.
        """
        return _endpoint(self.config, _model_info(self.config))

    def check_ready(self) -> None:
        """See that there is an interpreter with browser-use, and a key for the model.

        Raises:
            InputError: when something is missing, saying how to get it.
        """
        _ = self.endpoint
        browser_use_version(python_for(self.config.python))

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        config = described["config"]
        del config["python"]
        if config["base_url"] is not None:
            config["base_url"] = Endpoint(config["base_url"], "").shown
        return described

    async def __call__(self, run: Run) -> None:
        config = self._config_for(run)
        try:
            info = await asyncio.to_thread(_model_info, config)
            endpoint = _endpoint(config, info)
            python = python_for(config.python)
        except InputError as error:
            raise AgentFault(error.message, hint=error.hint) from error
        row = run.client.binding("cdp")
        request = _request(run, config, info, endpoint, row)

        def cost_of(call: CallTokens) -> float | None:
            from hud.models.prices import cost_usd  # data of their own, read when first needed

            return cost_usd(endpoint.provider, info.name, **call.model_dump())

        recorder = StepRecorder(
            run, info.name, shows_pictures=bool(request["vision"]), cost_of=cost_of
        )
        async with started(python) as worker:
            ended = await _follow(worker, json.encode(request), recorder)
        recorder.spent(ended.usage, "other")
        if isinstance(ended, Broken):
            _end_broken(run, ended, endpoint, info.name, row)
            return
        run.trace.content = ended.answer or ""
        run.trace.stop_reason = ended.stop
        run.trace.extra["browser_use_success"] = ended.success

    def _config_for(self, run: Run) -> BrowserUseConfig:
        """Return the settings with the task row's own over them."""
        row = run.agent_config
        if not row:
            return self.config
        where = f"agent_config of task {bounded(run.slug or run.task_id)!r}"
        for name in _NOT_FOR_ROWS:
            if name in row:
                raise AgentFault(
                    f"{where} may not set {name}", hint="it belongs to who runs the agent"
                )
        try:
            own = BrowserUseConfig.model_validate(row)
        except ValidationError as error:
            raise AgentFault(f"{where}: {setting_problem(error, BrowserUseConfig)}") from error
        said = {name: getattr(own, name) for name in own.model_fields_set}
        return self.config.model_copy(update=said)


async def _follow(worker: Worker, request: bytes, recorder: StepRecorder) -> Ended | Broken:
    """Record what the worker says until it says how the task ended.

    Raises:
        AgentFault: when it ends without having said so.
    """
    async for line in worker.lines(request):
        try:
            event = read_event(line)
        except ValueError as error:
            said = redact(line.decode("utf-8", "replace"))
            raise AgentFault(f"the browser-use worker said {bounded(said)!r}") from error
        match event:
            case Turned():
                recorder.turned(event)
            case Acted():
                recorder.acted(event)
            case Stumbled():
                recorder.stumbled(event)
            case Started():
                pass
            case _:
                return event
    raise await worker.died()


def _end_broken(run: Run, event: Broken, endpoint: Endpoint, model: str, row: Capability) -> None:
    """Raise what broke; a conversation that did not fit the model is the run's own end."""
    match event.boundary:
        case "model":
            detail = excerpt(event.detail if event.body is None else event.body)
            failure = CallFailure(event.kind, detail, status=event.status, code=event.code)
            fault = failure.fault(endpoint, model)
            if not isinstance(fault, ContextOverflow):
                raise fault
            run.trace.stop_reason = "context_overflow"
        case "capability":
            raise CapabilityFault(
                f"browser {row.name!r} at {bounded(row.url)} cannot be driven by browser-use: "
                f"{excerpt(event.detail)}",
                hint="check that the browser runs and that this is its remote debugging port",
            )
        case "agent":
            raise AgentFault(f"browser-use failed: {excerpt(event.detail)}")


def _model_info(config: BrowserUseConfig) -> ModelInfo:
    """Return what is known of the model. One nobody knows speaks Chat Completions, where an address
    is given that may have it. Blocks while a platform is asked.
    """
    from hud._core.settings import read_settings

    try:
        return find_model(config.model)
    except UnknownModel:
        if not (config.base_url or config.gateway or read_settings().openai_base_url):
            raise
    return ModelInfo(config.model, config.model, Dialect.CHAT, OPENAI)


def _endpoint(config: BrowserUseConfig, info: ModelInfo) -> Endpoint:
    if info.provider.name == "aws":
        raise InputError(
            f"browser-use is not asked to sign requests for {info.provider.label}",
            hint="ask for the model at its own provider, or through a gateway",
        )
    return endpoint_for(
        info.provider,
        base_url=config.base_url,
        api_key=config.api_key,
        gateway=True if info.is_hosted and config.gateway is None else config.gateway,
    )


def _request(
    run: Run, config: BrowserUseConfig, info: ModelInfo, endpoint: Endpoint, row: Capability
) -> dict[str, Any]:
    """Return what the worker is told; the model's key goes nowhere else."""
    traced = endpoint.is_gateway and run.trace_id is not None
    base_url, version = endpoint.base_url.rstrip("/"), None
    if info.dialect is Dialect.MESSAGES:
        base_url = base_url.removesuffix("/v1")  # the SDK adds it
    elif info.dialect is Dialect.GEMINI and (match := _VERSION.fullmatch(base_url)):
        base_url, version = match[1], "v1beta" if match[2] == "v1" else match[2]
    target = row.params.get("target_id")
    return {
        "task": run.prompt_text,
        "cdp_url": _cdp_url(row),
        "target_id": target if isinstance(target, str) else None,
        "max_steps": config.max_steps if config.max_steps >= 0 else _NO_LIMIT,
        "system_prompt": config.system_prompt,
        "vision": info.images is not False,
        "model": {
            "name": info.name,
            "dialect": info.dialect.value,
            "base_url": base_url,
            "api_version": version,
            "api_key": endpoint.api_key,
            "headers": {"Trace-Id": run.trace_id} if traced else {},
            "retries": config.model_retries,
            "timeout_s": MODEL_TIMEOUT_S,
        },
    }


def _cdp_url(row: Capability) -> str:
    """Return the browser's address as browser-use takes it: its own websocket, or where to ask."""
    parts = urlsplit(row.url)
    if parts.path.startswith("/devtools/browser/"):
        return row.url
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return parts._replace(scheme=scheme, path="").geturl()
