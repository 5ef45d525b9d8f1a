"""Score free text with a language model: one question per criterion, MET or UNMET.

Only a verdict becomes a score: a judge that cannot be reached, or answers without a verdict, is a
fault of the grader and never a 0. Wording and reading of the question are `verdict`'s part. The
model SDK is imported when a judge is first called.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from hud._core.errors import GraderFault, bounded
from hud.graders.base import Grader
from hud.graders.combine import with_unique_names
from hud.graders.parallel import all_of
from hud.graders.result import SubScore
from hud.graders.text import as_text
from hud.graders.verdict import INSTRUCTIONS, REMINDER, Verdict, ask, read_verdict
from hud.trace.context import current_trace_id

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessageParam

_MAX_TOKENS = 1024
_ATTEMPTS = 3
_CALLS_AT_ONCE = 8
_CALL_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class JudgeEndpoint:
    """Where judge calls go; `base_url` None means the SDK's own default address.

    A gateway is told which trace a call belongs to; a provider is not.
    """

    base_url: str | None
    api_key: str
    is_gateway: bool


def judge_endpoint(environ: Mapping[str, str]) -> JudgeEndpoint:
    """Return the gateway (HUD_GATEWAY_URL with HUD_API_KEY), else OPENAI_API_KEY's endpoint.

    A key only ever goes to the address it belongs to: the HUD key to the gateway, the provider
    key to OPENAI_BASE_URL or the provider itself.

    Raises:
        GraderFault: when neither is configured.
    """
    gateway, hud_key = environ.get("HUD_GATEWAY_URL"), environ.get("HUD_API_KEY")
    if gateway and hud_key:
        return JudgeEndpoint(gateway, hud_key, is_gateway=True)
    provider_key = environ.get("OPENAI_API_KEY")
    if provider_key:
        base_url = environ.get("OPENAI_BASE_URL") or None
        return JudgeEndpoint(base_url, provider_key, is_gateway=False)
    raise GraderFault(
        "LLMJudgeGrader has no model to ask",
        hint="Set HUD_GATEWAY_URL and HUD_API_KEY, or OPENAI_API_KEY (and OPENAI_BASE_URL).",
    )


class LLMJudgeGrader(Grader):
    """Ask a model, criterion by criterion, whether an answer fulfils it."""

    name: ClassVar[str] = "LLMJudgeGrader"

    @classmethod
    async def compute_score(
        cls,
        answer: str | Any = "",
        criteria: Sequence[str | tuple[str, float]] | None = None,
        question: str = "",
        model: str = "claude-sonnet-5-5",
        client: AsyncOpenAI | None = None,
        **kwargs: Any,
    ) -> SubScore:
        """Return the weighted share of `criteria` that `answer` meets, each judged on its own.

        A criterion is a text or (text, weight); only the ratio of weights counts. A criterion of
        negative weight lowers the value when met; the value stays within 0 and 1. Verdicts are
        the node's `children`, with the judge's explanation in `info["reason"]`. `client` is used
        when given and left open; otherwise the environment says whom to ask (`judge_endpoint`).

        Raises:
            GraderFault: when the model API fails, or gives no verdict in three attempts.
            ValueError: without criteria, or without one of positive weight.
        """
        weighted = [_weighted(criterion) for criterion in criteria or ()]
        available = math.fsum(weight for _, weight in weighted if weight > 0)
        if available <= 0:
            raise ValueError("LLMJudgeGrader needs at least one criterion with a positive weight")
        text = as_text(answer)
        async with _open(client) as api:
            judge = _Judge(api, model)
            verdicts = await all_of(
                [judge.decide(criterion, text, question) for criterion, _ in weighted]
            )
        children = [
            SubScore(
                name=criterion,
                weight=weight,
                value=float(verdict.status == "MET"),
                info={"reason": verdict.explanation},
            )
            for (criterion, weight), verdict in zip(weighted, verdicts, strict=True)
        ]
        share = math.fsum(child.weight * child.value for child in children) / available
        return SubScore(
            name=cls.name,
            value=min(1.0, max(0.0, share)),
            children=with_unique_names(children),
            info={"model": model},
        )


class _Judge:
    """One model behind one open client, asked about a few criteria at a time."""

    def __init__(self, client: AsyncOpenAI, model: str) -> None:
        self._client = client
        self._model = model
        self._places = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def decide(self, criterion: str, answer: str, question: str) -> Verdict:
        request, reply = ask(criterion, answer, question), ""
        async with self._places:
            for _ in range(_ATTEMPTS):
                reply = await self._reply(request)
                verdict = read_verdict(reply)
                if verdict is not None:
                    return verdict
                # A changed request, so that a caching gateway does not repeat the same reply.
                request = f"{request}\n\n{REMINDER}"
        raise GraderFault(
            f"judge {self._model} gave no MET or UNMET verdict in {_ATTEMPTS} attempts, "
            f"last reply: {bounded(reply, 200)!r}",
            hint="Use a model that follows instructions, or make the criterion shorter.",
        )

    async def _reply(self, request: str) -> str:
        from openai import OpenAIError

        messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": request},
        ]
        try:
            completion = await self._client.chat.completions.create(
                model=self._model, messages=messages, max_tokens=_MAX_TOKENS
            )
            content = cast("object", completion.choices[0].message.content)
            if not isinstance(content, str | None):
                raise TypeError(type(content))
        except OpenAIError as error:
            raise GraderFault(
                f"judge {self._model} could not be asked: {bounded(str(error), 500)}",
                hint="Check the address, the key and the model name of the judge.",
            ) from error
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise GraderFault(
                f"judge {self._model} answered something that is no chat completion",
                hint="The judge's address must speak the Chat Completions API.",
            ) from error
        return content or ""


@contextlib.asynccontextmanager
async def _open(client: AsyncOpenAI | None) -> AsyncGenerator[AsyncOpenAI, None]:
    if client is not None:
        yield client
        return
    from openai import AsyncOpenAI

    endpoint = judge_endpoint(os.environ)
    trace_id = current_trace_id() if endpoint.is_gateway else None
    async with AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        timeout=_CALL_TIMEOUT_S,
        default_headers={"Trace-Id": trace_id} if trace_id else None,
    ) as opened:
        yield opened


def _weighted(criterion: str | tuple[str, float]) -> tuple[str, float]:
    text, weight = (criterion, 1.0) if isinstance(criterion, str) else criterion
    if not text.strip() or not math.isfinite(weight):
        raise ValueError(
            f"LLMJudgeGrader: a criterion is a text or (text, finite weight), not {criterion!r}"
        )
    return text, float(weight)
