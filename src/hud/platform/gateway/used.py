"""What one call took in tokens, and what that costs at its provider's price."""

from __future__ import annotations

from dataclasses import dataclass

from hud._core.errors import InputError
from hud.models.prices import cost_usd
from hud.models.usage import UsageReader
from hud.platform.gateway.served import Route
from hud.trace.steps import Usage

_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens of one call, and by which names its price is looked up.

    Attributes:
        is_known: Whether the provider said what the call took, so that nothing is estimated.
    """

    provider: str | None
    names: tuple[str, ...]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    is_known: bool = True

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.prompt_tokens + self.completion_tokens

    def cost_usd(self) -> float | None:
        """Return what it cost, None where the price is not known.

        The first call of a process loads the prices, which takes a moment.
        """
        if not self.tokens:
            return 0.0
        for name in self.names:
            try:
                cost = cost_usd(
                    self.provider,
                    name,
                    prompt_tokens=self.prompt_tokens,
                    cached_tokens=self.cached_tokens,
                    cache_write_tokens=self.cache_write_tokens,
                    completion_tokens=self.completion_tokens,
                )
            except InputError:  # the user's own catalog cannot be read
                return None
            if cost is not None:
                return cost
        return None


def used_nothing(route: Route) -> Used:
    """Return what a call took that the provider refused, or that never reached it."""
    return Used(route.provider.endpoint.provider, (route.upstream,))


def used_unanswered(route: Route, prompt_tokens: int) -> Used:
    """Return what a call took whose client went away before the answer began: its prompt."""
    names = (route.upstream,)
    return Used(route.provider.endpoint.provider, names, prompt_tokens, is_known=False)


def used_at_most(route: Route, prompt_tokens: int, completion_tokens: int) -> Used:
    """Return the most that a call may take."""
    names = (route.upstream,)
    return Used(route.provider.endpoint.provider, names, prompt_tokens, completion_tokens)


def used_by(
    route: Route,
    reader: UsageReader,
    prompt_tokens: int,
    *,
    is_whole: bool,
    has_answer: bool = True,
) -> Used:
    """Return what an answered call took.

    A provider bills for what it wrote before it was cut off, and does not say how much that was;
    some never say it. Then it is estimated, so that neither is a way around a budget.

    Args:
        prompt_tokens: An estimate of the prompt's.
        is_whole: Whether the answer came to its end.
        has_answer: Whether it has tokens of its own; an embedding has none.
    """
    told = reader.usage() or Usage()
    names = tuple(dict.fromkeys(name for name in (route.upstream, reader.model) if name))
    prompt, completion = told.prompt_tokens, told.completion_tokens
    if not has_answer:
        completion = completion or 0
    is_known = is_whole and prompt is not None and completion is not None
    if not is_known:
        seen = reader.events if reader.events else reader.size_bytes // _BYTES_PER_TOKEN
        completion = max(completion or 0, seen) if has_answer else 0
    return Used(
        route.provider.endpoint.provider,
        names,
        prompt_tokens if prompt is None else prompt,
        completion or 0,
        told.cached_tokens or 0,
        told.cache_write_tokens or 0,
        is_known,
    )
