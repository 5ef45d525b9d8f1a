"""What every dialect on a provider's SDK shares: the endpoint, the connections, asking well.

The loop is `tool_agent`; open connections are `connections`; trying again is `hud.models.calling`.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ClassVar, Generic

from hud._core.errors import AgentFault, InputError
from hud.agents.connections import shared_pool
from hud.agents.run import Run
from hud.agents.tool_agent import MessageT, RunState, ToolAgent, ToolConfigT
from hud.agents.tools.base import ToolMaker
from hud.agents.types import ToolAgentConfig
from hud.models.calling import ModelCall, ask
from hud.models.endpoint import Endpoint, endpoint_for
from hud.models.provider import Dialect, ModelProvider
from hud.trace.steps import AgentStep, Usage


class ApiAgent(ToolAgent[ToolConfigT, MessageT], Generic[ToolConfigT, MessageT]):
    """A dialect on a provider's SDK.

    The SDK takes long to import, so it is loaded once per process: by `check_ready`, or else by
    the first run.

    Attributes:
        dialect: What it speaks.
        provider: Whose models it asks, unless an address says otherwise.
        sdk: Module that loads the SDK, with `CLIENTS` and `read_failure`.
    """

    dialect: ClassVar[Dialect]
    provider: ClassVar[ModelProvider]
    sdk: ClassVar[str]

    _endpoint: Endpoint | None = None
    _client: Any = None

    def __init__(
        self,
        config: ToolConfigT | None = None,
        *,
        tools: Sequence[ToolMaker | Callable[..., Any]] = (),
        provider: ModelProvider | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:
        """Make an agent that drives any number of runs at once.

        Args:
            config: The settings; defaults when None.
            tools: Further tools of the agent's own.
            provider: Whose model it is, where that is not the dialect's own provider.
            endpoint: Where it is asked, whatever the settings say.
        """
        super().__init__(config, tools=tools)
        self._provider = provider
        self._endpoint = endpoint

    @property
    def endpoint(self) -> Endpoint:
        """Where requests go, decided once.

        Raises:
            InputError: when the address or the key is missing or malformed.
        """
        if self._endpoint is None:
            config = self.config
            self._endpoint = endpoint_for(
                self._provider or self.provider_of(config),
                base_url=getattr(config, "base_url", None),
                api_key=getattr(config, "api_key", None),
                gateway=config.gateway,
            )
        return self._endpoint

    @property
    def client(self) -> Any:
        """The SDK's client on the running event loop, shared by all agents on the same endpoint.

        Assign one to use it instead; whoever made it closes it.

        Raises:
            InputError: when no endpoint is configured.
        """
        given = self._client or self.config.model_client
        return given or shared_pool(self.endpoint, self._sdk().CLIENTS).first

    @client.setter
    def client(self, client: Any) -> None:
        self._client = client
        self._endpoint = self._endpoint_behind(client)

    def check_ready(self) -> None:
        """Load the SDK and make sure there is an endpoint; call it before many runs start.

        Raises:
            InputError: when the address, the key or a setting is missing or malformed.
        """
        from hud.models.shared import configured_cache, configured_limits

        self._sdk()
        configured_limits()
        configured_cache()
        if self.config.model_client is not None and self._client is None:
            self.client = self.config.model_client
        _ = self.endpoint

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        config = described["config"]
        if config.get("base_url") is not None:
            config["base_url"] = Endpoint(config["base_url"], "").shown
        return described

    def provider_of(self, config: ToolAgentConfig) -> ModelProvider:
        """Return whose model the settings name."""
        return self.provider

    async def ask(
        self,
        state: RunState[MessageT],
        request: dict[str, Any],
        send: Callable[[Any], Awaitable[dict[str, Any]]],
        read: Callable[[dict[str, Any], str], AgentStep],
    ) -> AgentStep:
        """Ask the model once and return its reply as a step, with its times, tokens and cost.

        Args:
            request: What is asked, as JSON-safe data without what differs from run to run.
            send: Sends it through the SDK's client it is given, and returns the reply's JSON.
            read: Makes a step of the reply; its second argument names the API in messages.

        Raises:
            ContextOverflow: when the conversation does not fit the model.
            ModelFault: when the model API fails.
        """
        endpoint = self._endpoint_of_run()
        model = state.config.model
        where = f"the model API at {endpoint.shown}"
        checked: AgentStep | None = None

        async def once() -> dict[str, Any]:
            async with self._lent(endpoint) as client:
                return await send(client)

        def check(body: dict[str, Any]) -> None:
            nonlocal checked
            checked = read(body, where)

        call = ModelCall(
            endpoint,
            model,
            self.dialect.value,
            request,
            repeat=state.run.member if state.run else 0,
        )
        answered = await ask(
            call,
            once,
            self._sdk().read_failure,
            retries=state.config.model_retries,
            patience_s=state.config.model_patience_s,
            check=check,
        )
        # An answer from the cache, or to another run's equal question, was not checked here.
        step = checked or read(answered.body, where)
        step.started_at, step.ended_at = answered.started_at, answered.ended_at
        step.model = step.model or model
        if answered.is_cached:
            step.extra["cached"] = True
        if step.usage is not None:
            if answered.is_cached:
                step.usage.cost_usd = 0.0
            elif step.usage.cost_usd is None:
                step.usage.cost_usd = _cost_usd(endpoint, step.model, step.usage)
        return step

    def trace_headers(self, run: Run | None) -> dict[str, str]:
        """Return the headers that tell a gateway which trace a call belongs to."""
        if run is None or run.trace_id is None or not self._endpoint_of_run().is_gateway:
            return {}
        return {"Trace-Id": run.trace_id}

    def _sdk(self) -> Any:
        return importlib.import_module(self.sdk)

    def _lent(self, endpoint: Endpoint) -> AbstractAsyncContextManager[Any]:
        if self._client is not None:
            return nullcontext(self._client)
        return shared_pool(endpoint, self._sdk().CLIENTS).client()

    def _endpoint_of_run(self) -> Endpoint:
        if self._endpoint is None and self._client is None and self.config.model_client is not None:
            self.client = self.config.model_client
        try:
            return self.endpoint
        except InputError as error:
            raise AgentFault(error.message, hint=error.hint) from error

    def _endpoint_behind(self, client: Any) -> Endpoint:
        """Return where a client somebody else made asks."""
        key = getattr(client, "api_key", None)
        return Endpoint(str(client.base_url).rstrip("/"), key if isinstance(key, str) else "")


def _cost_usd(endpoint: Endpoint, model: str, usage: Usage) -> float | None:
    from hud.models.prices import cost_usd  # prices are data of their own, read when first needed

    return cost_usd(
        endpoint.provider,
        model,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        completion_tokens=usage.completion_tokens,
    )
