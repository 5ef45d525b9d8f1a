"""The providers' own SDKs ask the gateway with a platform key; the provider gets its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from google import genai
from google.genai import types as google
from openai import AsyncOpenAI

from hud._core.ids import new_id
from hud.models.provider import Dialect
from hud.platform.gateway.tables import runs
from hud.store import LOCAL_TEAM
from hud.testing.model_server import Call, ModelServer, Question, Say
from tests.platform.gateway.asking import MODEL, PROMPT, add_all, ask, model_for
from tests.platform.gateway.gatewayed import PROVIDER_KEY, Gatewayed
from tests.platform.gateway.raw_provider import RawProvider, says

DIALECTS = list(Dialect)
SAID = Say(
    "The answer is 42.",
    calls=[Call("look", {"at": "it"})],
    prompt_tokens=20,
    completion_tokens=7,
    cached_tokens=4,
)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_sdk_asks_with_a_platform_key_and_the_provider_gets_its_own(
    platform: Gatewayed, dialect: Dialect, stream: bool
) -> None:
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        text = await ask(dialect, platform.url, platform.key, model_for(dialect), stream=stream)
        [request] = server.requests
        [row] = await platform.rows()
    assert text == "The answer is 42."
    assert request.model == MODEL
    assert platform.key not in str(request.headers)
    assert (row["model"], row["dialect"]) == (model_for(dialect), dialect.value)
    assert (row["status"], row["error"], row["is_cached"]) == (200, None, 0)
    assert (row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"]) == (20, 7, 4)
    assert row["key_id"] == platform.key_id


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer KEY"},
        {"x-api-key": "KEY"},
        {"x-goog-api-key": "KEY"},
        {"authorization": "bearer KEY", "x-api-key": "something else"},
    ],
    ids=["bearer", "x-api-key", "x-goog-api-key", "bearer first"],
)
@pytest.mark.parametrize("version", ["", "/v1", "/v1/v1"])
async def test_a_key_counts_in_every_header_and_the_version_may_be_left_out(
    platform: Gatewayed, headers: dict[str, str], version: str
) -> None:
    path = f"{version}/chat/completions"
    shown = {name: text.replace("KEY", platform.key) for name, text in headers.items()}
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            client.headers.pop("authorization")
            body = {"model": model_for(Dialect.CHAT), "messages": PROMPT}
            reply = await client.post(path, json=body, headers=shown)
            keyless = await client.post(path, json=body)
    assert reply.status_code == 200
    assert reply.json()["choices"][0]["message"]["content"] == "The answer is 42."
    assert keyless.status_code == 401


async def test_gemini_may_show_its_key_in_the_query(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            client.headers.pop("authorization")
            reply = await client.post(
                f"/v1beta/models/{model_for(Dialect.GEMINI)}:generateContent?key={platform.key}",
                json={"contents": [{"role": "user", "parts": [{"text": "How much?"}]}]},
            )
        [request] = server.requests
    assert reply.status_code == 200
    assert platform.key not in request.path


async def test_anthropic_asks_with_a_bearer_token_and_a_beta_query(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with AsyncAnthropic(
            base_url=platform.url, auth_token=platform.key, default_query={"beta": "true"}
        ) as client:
            reply = await client.beta.messages.create(
                model=model_for(Dialect.MESSAGES), max_tokens=9, messages=PROMPT, betas=["a-beta"]
            )
        [request] = server.requests
    assert reply.usage.output_tokens == 7
    assert request.path.endswith("/v1/messages?beta=true")
    assert request.headers["anthropic-beta"] == "a-beta"


async def test_a_body_that_names_the_model_as_its_provider_does_is_passed_untouched(
    platform: Gatewayed,
) -> None:
    body = b'{ "model" : "m",  "messages":[],"return_token_ids":true, "seed": 1.50, "\xc3\xa9":"" }'
    async with RawProvider(says(b'{"choices":[],"new":{"field": 1.0}}')) as provider:
        platform.add("raw", "openai", f"{provider.url}/v1", ["m", "other=m"])
        async with platform.http() as client:
            reply = await client.post("/chat/completions", content=body)
            await client.post("/chat/completions", content=body.replace(b'"m"', b'"other"'))
    assert provider.requests[0].body == body
    renamed = json.loads(provider.requests[1].body)
    assert renamed == json.loads(body)
    assert b"1.50" in provider.requests[1].body
    assert reply.content == b'{"choices":[],"new":{"field": 1.0}}'


async def test_token_ids_and_logprobs_come_through_from_backends_that_give_them(
    platform: Gatewayed,
) -> None:
    said = Say("a b", prompt_token_ids=[1, 2], token_ids=[3, 4], logprobs=[-0.5, -0.25])
    async with ModelServer(lambda question: said, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with AsyncOpenAI(base_url=platform.url, api_key=platform.key) as opened:
            client: Any = opened
            reply = await client.chat.completions.create(
                model=model_for(Dialect.CHAT),
                messages=PROMPT,
                logprobs=True,
                extra_body={
                    "return_token_ids": True,
                    "prompt_token_ids": [9],
                    "continuation_from": 1,
                    "checkpoint": "c1",
                },
            )
        [request] = server.requests
    choice = reply.choices[0]
    assert (choice.prompt_token_ids, choice.token_ids) == ([1, 2], [3, 4])
    assert [each.logprob for each in choice.logprobs.content] == [-0.5, -0.25]
    assert request.body["prompt_token_ids"] == [9]
    assert (request.body["continuation_from"], request.body["checkpoint"]) == (1, "c1")


async def test_a_client_that_asks_for_usage_gets_its_event(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with AsyncOpenAI(base_url=platform.url, api_key=platform.key) as opened:
            client: Any = opened
            stream = await client.chat.completions.create(
                model=model_for(Dialect.CHAT),
                messages=PROMPT,
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks: list[Any] = [chunk async for chunk in stream]
    assert chunks[-1].usage.completion_tokens == 7


async def test_a_later_turn_names_the_reply_before_it(platform: Gatewayed) -> None:
    def rule(question: Question) -> Say:
        return Say(f"heard {len(question.turns)} turns")

    async with ModelServer(rule, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with AsyncOpenAI(base_url=platform.url, api_key=platform.key) as opened:
            client: Any = opened
            model = model_for(Dialect.RESPONSES)
            first = await client.responses.create(model=model, input="one", instructions=None)
            second = await client.responses.create(
                model=model, input="two", previous_response_id=first.id, temperature=None
            )
    assert (first.output_text, second.output_text) == ("heard 1 turns", "heard 3 turns")


async def test_a_kept_reply_is_read_and_deleted_at_the_provider_that_gave_it(
    platform: Gatewayed,
) -> None:
    kept = b'{"id":"resp_1","object":"response","status":"completed","output":[],"usage":null}'
    other = says(b'{"error":{"message":"no such response"}}', "404 Not Found")
    async with RawProvider(says(kept)) as provider, RawProvider(other) as stranger:
        platform.add("stranger", "openai", f"{stranger.url}/v1", ["s"])
        platform.add("keeper", "openai", f"{provider.url}/v1", ["m"])
        async with platform.http() as client:
            found = await client.get("/v1/responses/resp_1")
            await client.post("/responses", json={"model": "m", "input": "x"})
            gone = await client.delete("/responses/resp_1")
            missing = await client.get("/responses/../models")
    assert found.json()["id"] == "resp_1"
    assert gone.status_code == 200
    assert [request.line.split()[0] for request in provider.requests] == ["GET", "POST", "DELETE"]
    assert len(stranger.requests) == 1
    assert missing.status_code != 500


async def test_tokens_are_counted_without_a_row(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with AsyncAnthropic(base_url=platform.url, api_key=platform.key) as client:
            counted = await client.messages.count_tokens(
                model=model_for(Dialect.MESSAGES), messages=PROMPT
            )
        options = google.HttpOptions(base_url=platform.url, api_version="v1beta")
        gemini: Any = genai.Client(api_key=platform.key, http_options=options)
        asked: Any = {"model": model_for(Dialect.GEMINI), "contents": "How much?"}
        told = await gemini.aio.models.count_tokens(**asked)
        await gemini.aio.aclose()
        gemini.close()
        rows = await platform.rows()
    assert counted.input_tokens == told.total_tokens == 2
    assert rows == []


async def test_embeddings_are_passed_on_and_metered(platform: Gatewayed) -> None:
    body = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],'
    body += b'"model":"e","usage":{"prompt_tokens":3,"total_tokens":3}}'
    async with RawProvider(says(body)) as provider:
        platform.add("raw", "openai", f"{provider.url}/v1", ["mine=e"])
        async with AsyncOpenAI(base_url=platform.url, api_key=platform.key) as client:
            made = await client.embeddings.create(model="mine", input="x", encoding_format="float")
        [row] = await platform.rows()
    assert made.data[0].embedding == [0.5]
    assert json.loads(provider.requests[0].body)["model"] == "e"
    assert (row["prompt_tokens"], row["completion_tokens"]) == (3, 0)


async def test_chat_completions_of_gemini_go_to_the_place_google_has_for_them(
    platform: Gatewayed,
) -> None:
    body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}'
    async with RawProvider(says(body)) as provider:
        platform.add("google", "gemini", provider.url, ["gemini-x"])
        async with platform.http() as client:
            asked = {"model": "gemini-x", "messages": PROMPT}
            reply = await client.post("/chat/completions", json=asked)
    [request] = provider.requests
    assert reply.status_code == 200
    assert request.line.startswith("POST /v1beta/openai/chat/completions ")
    assert request.headers["authorization"] == f"Bearer {PROVIDER_KEY}"


async def test_every_sdk_lists_the_models(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: SAID) as server:
        add_all(platform, server)
        names = [model_for(dialect) for dialect in (Dialect.CHAT, Dialect.MESSAGES, Dialect.GEMINI)]
        async with AsyncOpenAI(base_url=platform.url, api_key=platform.key) as openai:
            assert [model.id async for model in openai.models.list()] == names
            assert (await openai.models.retrieve(names[1])).owned_by == "anthropic"
        async with AsyncAnthropic(base_url=platform.url, api_key=platform.key) as anthropic:
            assert [model.id async for model in anthropic.models.list()] == names
        options = google.HttpOptions(base_url=platform.url, api_version="v1beta")
        gemini: Any = genai.Client(api_key=platform.key, http_options=options)
        found = [model.name async for model in await gemini.aio.models.list()]
        await gemini.aio.aclose()
        gemini.close()
    assert found == [f"models/{name}" for name in names]


@pytest.mark.parametrize("spelling", ["hex", "dashed"])
async def test_a_call_is_linked_to_its_trace_and_its_job(
    platform: Gatewayed, spelling: str
) -> None:
    run_id, job_id = new_id(), new_id()
    with platform.services.database.writing() as connection:
        row = {"team": LOCAL_TEAM, "id": run_id, "job_id": job_id, "task_slug": "t", "member": 0}
        more = {"attempt": 1, "status": "running", "started_at": 1}
        connection.execute(runs.insert().values(**row, **more))
    dashes = "-".join((run_id[:8], run_id[8:12], run_id[12:16], run_id[16:20], run_id[20:]))
    shown = run_id if spelling == "hex" else dashes
    async with ModelServer(lambda question: SAID, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http(**{"trace-id": shown}) as client:
            body = {"model": model_for(Dialect.CHAT), "messages": PROMPT}
            await client.post("/chat/completions", json=body)
            await client.post("/chat/completions", json=body, headers={"trace-id": "no such thing"})
        assert "trace-id" not in server.requests[0].headers
        first, second = await platform.rows()
    assert (first["run_id"], first["job_id"]) == (run_id, job_id)
    assert (second["run_id"], second["job_id"]) == (None, None)
