"""An agent on any endpoint that speaks Chat Completions, through the official `openai` SDK.

Text in, text out, one turn. The SDK takes a third of a second to import, so it is loaded once per
process: by `check_ready`, or else by the first run. Open connections are `openai_clients`, the
shape of requests and replies is `chat_format`.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hud._core.errors import AgentFault, InputError, bounded
from hud.agents.base import Agent
from hud.agents.chat_format import chat_messages, read_completion
from hud.agents.run import Run
from hud.agents.types import OpenAIChatConfig
from hud.models.endpoint import Endpoint, endpoint_for
from hud.models.provider import OPENAI
from hud.trace.clock import utc_now
from hud.trace.steps import AgentStep

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_OWN_ARGUMENTS = ("model", "messages", "stream")
_NOT_FOR_ROWS = ("api_key", "base_url")
_SDK = "hud.agents.openai_clients"


class OpenAIChatAgent(Agent[OpenAIChatConfig]):
    """A model behind Chat Completions: OpenAI itself, a gateway, or a server of one's own.

    An empty answer and a refusal are answers. A reply cut by its token limit is one too, with
    stop reason `length`; a prompt the model cannot hold ends with `context_overflow`.

    Attributes:
        config: Model, endpoint and prompt; a task row's `agent_config` is laid over it.
        completion_kwargs: Sent with every request. A name the SDK has no argument for goes into
            the request's body as it is (`return_token_ids`, `top_k`).
    """

    def __init__(self, config: OpenAIChatConfig | None = None) -> None:
        self.config = config or OpenAIChatConfig()
        self.completion_kwargs = dict(self.config.completion_kwargs)
        self._endpoint: Endpoint | None = None
        self._client: AsyncOpenAI | None = None
        problem = _reserved(self.completion_kwargs)
        if problem:
            raise InputError(f"completion_kwargs: {problem}")

    @property
    def name(self) -> str:
        return "openai_compatible"

    @property
    def oai(self) -> AsyncOpenAI:
        """The client of the running event loop, shared by all agents on the same endpoint.

        Assign a client to use it instead; whoever made it closes it.

        Raises:
            InputError: when no endpoint is configured.
        """
        if self._client is not None:
            return self._client
        from hud.agents.openai_clients import shared_pool

        return shared_pool(self.endpoint).first

    @oai.setter
    def oai(self, client: AsyncOpenAI) -> None:
        self._client = client
        self._endpoint = Endpoint(str(client.base_url).rstrip("/"), client.api_key)

    @property
    def endpoint(self) -> Endpoint:
        """Where requests go, decided once.

        Raises:
            InputError: when the address or the key is missing or malformed.
        """
        if self._endpoint is None:
            self._endpoint = endpoint_for(
                OPENAI,
                base_url=self.config.base_url,
                api_key=self.config.api_key,
                gateway=self.config.gateway,
            )
        return self._endpoint

    def check_ready(self) -> None:
        """Load the SDK and make sure there is an endpoint; call it before many runs start.

        Raises:
            InputError: when the address or the key is missing or malformed.
        """
        importlib.import_module(_SDK)
        _ = self.endpoint

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        config = described["config"]
        config["completion_kwargs"].pop("extra_headers", None)
        if self.config.base_url is not None:
            config["base_url"] = Endpoint(self.config.base_url, "").shown
        return described

    async def __call__(self, run: Run) -> None:
        config = _config_for(run, self.config)
        kwargs = self.completion_kwargs
        if config is not self.config:
            kwargs = {**kwargs, **config.completion_kwargs}
        messages = chat_messages(run.prompt_messages, config.system_prompt)
        step = await self._ask(run, config, messages, kwargs)
        step.done = True
        run.record(step)
        if step.stop_reason == "context_overflow":
            run.trace.stop_reason = "context_overflow"
            return
        run.trace.content = step.content or ""
        run.trace.stop_reason = "length" if step.finish_reason == "length" else "done"

    async def _ask(
        self,
        run: Run,
        config: OpenAIChatConfig,
        messages: list[dict[str, Any]],
        completion_kwargs: dict[str, Any],
    ) -> AgentStep:
        from openai import OpenAIError

        from hud.agents import openai_clients as sdk

        endpoint = self._endpoint_of(run)
        arguments = sdk.request_arguments(completion_kwargs)
        if endpoint.is_gateway and run.trace_id:
            arguments["extra_headers"] = {
                **(arguments.get("extra_headers") or {}),
                "Trace-Id": run.trace_id,
            }
        if config.checkpoint is not None:
            arguments["extra_body"] = {
                **(arguments.get("extra_body") or {}),
                "checkpoint": config.checkpoint,
            }
        started_at = utc_now()
        try:
            async with self._lent(endpoint) as client:
                started_at = utc_now()
                body = await sdk.complete(client, config.model, messages, arguments)
        except OpenAIError as error:
            if not sdk.is_context_overflow(error):
                raise sdk.model_fault(error, endpoint, config.model) from error
            step = AgentStep(stop_reason="context_overflow", model=config.model)
        except (TypeError, ValueError) as error:
            raise AgentFault(
                f"completion_kwargs cannot be sent: {bounded(str(error), 300)}"
            ) from error
        else:
            step = read_completion(body, f"the model API at {endpoint.shown}")
            step.model = step.model or config.model
        step.started_at, step.ended_at = started_at, utc_now()
        return step

    def _lent(self, endpoint: Endpoint) -> AbstractAsyncContextManager[AsyncOpenAI]:
        if self._client is not None:
            return nullcontext(self._client)
        from hud.agents.openai_clients import shared_pool

        return shared_pool(endpoint).client()

    def _endpoint_of(self, run: Run) -> Endpoint:
        try:
            return self.endpoint
        except InputError as error:
            raise AgentFault(error.message, hint=error.hint) from error


def _config_for(run: Run, config: OpenAIChatConfig) -> OpenAIChatConfig:
    """Return the configuration with the task row's own settings over it.

    Raises:
        AgentFault: when the row has a setting this agent does not take.
    """
    row = run.agent_config
    if not row:
        return config
    where = f"agent_config of task {bounded(run.slug or run.task_id)!r}"
    for name in _NOT_FOR_ROWS:
        if name in row:
            raise AgentFault(f"{where} may not set {name}", hint="it belongs to who runs the agent")
    try:
        own = OpenAIChatConfig.model_validate(row)
    except ValidationError as error:
        raise AgentFault(f"{where}: {setting_problem(error)}") from error
    problem = _reserved(own.completion_kwargs)
    if problem:
        raise AgentFault(f"{where}: completion_kwargs: {problem}")
    return config.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def setting_problem(error: ValidationError) -> str:
    """Return the first thing wrong with a configuration, as one sentence."""
    problem = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(OpenAIChatConfig.model_fields))
        return f"unknown setting {bounded(name)!r} (known: {known})"
    return f"setting {name} = {bounded(problem['input'])}: {problem['msg']}"


def _reserved(completion_kwargs: dict[str, Any]) -> str | None:
    for name in _OWN_ARGUMENTS:
        if name in completion_kwargs:
            return f"{name!r} is set by the agent itself"
    return None
