"""Models, providers, usage and budgets over the API and the command line, of a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from hud._core.ids import new_id
from hud.models.gateway import list_gateway_models, resolve_gateway_model
from hud.testing.model_server import Say
from tests.platform.gateway.gatewayed import PROVIDER_KEY
from tests.platform.gateway.threaded import model_server
from tests.platform.server import Server, environment, running

SAID = Say("x", prompt_tokens=60, completion_tokens=40)
PROMPT: list[Any] = [{"role": "user", "content": "How much?"}]
OpenClient = Callable[[str | None], httpx.Client]


def hud(server: Server, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line against the home of a server."""
    return subprocess.run(
        [sys.executable, "-m", "hud", *words, "--home", str(server.home)],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(server.home),
        timeout=120,
    )


def put(client: httpx.Client, name: str, base_url: str, *models: str, **more: Any) -> Any:
    """Add a provider over the API and return what is told of it."""
    listed = [{"name": model} for model in models]
    body = {"dialect": "openai", "base_url": base_url, "api_key": PROVIDER_KEY, "models": listed}
    reply = client.put(f"/v2/providers/{name}", json={**body, **more})
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_models_come_in_pages_and_all_at_once_unless_a_limit_is_sent(client: httpx.Client) -> None:
    names = [f"acme/m{index:03}" for index in range(120)]
    put(client, "acme", "http://127.0.0.1:9/v1", *names)
    put(client, "anthropic", "http://127.0.0.1:9", "claude-haiku-4-5", dialect="anthropic")
    whole = client.get("/v2/models").json()
    page = client.get("/v2/models", params={"limit": 100, "offset": 100}).json()
    found = client.get("/v2/models", params={"search": "HAIKU"}).json()
    assert (whole["total"], len(whole["items"])) == (121, 121)
    assert [item["model_name"] for item in page["items"]] == [*names[100:], "claude-haiku-4-5"]
    assert page["total"] == 121
    first, claude = whole["items"][0], found["items"][0]
    assert (first["sdk_agent_type"], first["provider"]) == ("openai_compatible", {"name": "acme"})
    assert (first["is_trainable"], first["price"]) == (False, None)
    assert claude["sdk_agent_type"] == "claude"
    assert claude["price"]["output"] > claude["price"]["input"] > 0
    assert claude["context_window"] > 100_000


def test_a_name_an_alias_and_an_id_mean_a_model(client: httpx.Client) -> None:
    put(client, "anthropic", "http://127.0.0.1:9", dialect="anthropic")
    put(client, "acme", "http://127.0.0.1:9/v1", "acme/m")
    resolved = client.get("/v2/models/resolve", params={"model": "acme/m"}).json()
    alias = client.get("/v2/models/resolve", params={"model": "claude"}).json()
    by_id = client.get(f"/v2/models/{resolved['id']}").json()
    by_hex = client.get(f"/v2/models/{resolved['id'].replace('-', '')}").json()
    by_name = client.get("/v2/models/acme/m").json()
    unknown = client.get("/v2/models/resolve", params={"model": "acme/n"})
    assert by_id == by_hex == by_name
    assert alias["model_name"].startswith("claude-sonnet")
    assert client.get(f"/v2/models/{alias['id']}").json()["model_name"] == alias["model_name"]
    assert unknown.status_code == 404
    assert "did you mean acme/m" in unknown.json()["detail"]


def test_nothing_is_trained_here_and_that_is_said(client: httpx.Client) -> None:
    put(client, "acme", "http://127.0.0.1:9/v1", "acme/m")
    [model] = client.get("/v2/models").json()["items"]
    assert client.get(f"/v2/models/{model['id']}/checkpoints").json() == []
    assert client.get("/v2/models/acme/m/checkpoints").json() == []
    assert client.get(f"/v2/models/{new_id()}/checkpoints").status_code == 404
    fork = client.post("/v2/models/fork", json={"source_model_id": model["id"], "name": "x"})
    head = client.put(f"/v2/models/{model['id']}/head", json={"checkpoint_id": "c"})
    assert (fork.status_code, head.status_code) == (501, 501)
    assert "no training service" in fork.json()["detail"]


def test_our_own_client_lists_and_finds_the_models(
    server: Server, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client, "acme", "http://127.0.0.1:9/v1", "acme/m", "acme/n")
    monkeypatch.setenv("HUD_API_URL", server.url)
    monkeypatch.setenv("HUD_API_KEY", client.headers["authorization"].removeprefix("Bearer "))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert [model.model_name for model in list_gateway_models(fresh=True)] == ["acme/m", "acme/n"]
    assert resolve_gateway_model("N").model_name == "acme/n"


def test_a_provider_never_tells_its_key(client: httpx.Client, server: Server) -> None:
    made = put(client, "acme", "http://127.0.0.1:9/v1", "m")
    listed = client.get("/v2/providers").json()
    tried = client.post("/v2/providers/acme/test").json()
    assert made["has_key"] is True
    assert listed["items"] == [made]
    assert (tried["ok"], tried["status"]) == (False, None)
    assert "cannot be reached" in tried["detail"]
    replaced = put(client, "acme", "http://127.0.0.1:9/v1", "n", api_key=None)
    assert (replaced["has_key"], replaced["models"][0]["name"]) == (False, "n")
    assert replaced["created_at"] == made["created_at"]
    assert client.delete("/v2/providers/acme").json() == {"name": "acme"}
    assert client.delete("/v2/providers/acme").status_code == 404
    assert PROVIDER_KEY not in json.dumps([made, listed, tried]) + server.said()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"base_url": "ftp://x/v1"}, "no"),
        ({"base_url": "http://169.254.169.254/v1"}, "link-local"),
        ({"base_url": "http://[::ffff:169.254.169.254]/v1"}, "link-local"),
        ({"base_url": "http://me:secret@host/v1"}, "a user name"),
        ({"base_url": "file:///etc/passwd"}, "no"),
        ({"api_key": "two words"}, "key"),
        ({"dialect": "klingon"}, "dialect"),
        ({"models": [{"name": ""}]}, "models"),
    ],
)
def test_a_provider_that_cannot_be_is_refused(
    client: httpx.Client, change: dict[str, Any], word: str
) -> None:
    body = {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1", **change}
    reply = client.put("/v2/providers/acme", json=body)
    assert reply.status_code in (400, 422)
    assert word in reply.json()["detail"]
    assert "two words" not in reply.text
    assert client.get("/v2/providers").json()["total"] == 0


def test_two_providers_cannot_list_the_same_name(client: httpx.Client) -> None:
    put(client, "one", "http://127.0.0.1:9/v1", "m")
    body = {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1", "models": [{"name": "m"}]}
    reply = client.put("/v2/providers/two", json=body)
    assert reply.status_code == 400
    assert "served by the provider 'one' already" in reply.json()["detail"]
    assert client.get("/v2/providers").json()["total"] == 1


def test_only_who_manages_the_team_changes_providers_and_budgets(
    server: Server, open_client: OpenClient
) -> None:
    plain = open_client(server.key(team="managed", scopes=("read", "write", "inference")))
    provider = {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1"}
    budget = {"scope": "team", "max_tokens": 1}
    assert plain.put("/v2/providers/x", json=provider).status_code == 403
    assert plain.delete("/v2/providers/x").status_code == 403
    assert plain.post("/v2/providers/x/test").status_code == 403
    assert plain.put("/v2/budgets", json=budget).status_code == 403
    assert plain.delete("/v2/budgets/team").status_code == 403
    assert plain.get("/v2/usage").status_code == 200


def test_calls_are_summed_listed_and_ended_by_a_budget(
    server: Server, client: httpx.Client
) -> None:
    key = client.headers["authorization"].removeprefix("Bearer ")
    run_id = new_id()
    with (
        model_server(lambda question: SAID, api_key=PROVIDER_KEY) as models,
        OpenAI(base_url=f"{server.url}/inference", api_key=key, max_retries=0) as api,
    ):
        put(client, "acme", models.base_url("chat"), "m", "n")
        for model in ("m", "m", "n"):
            api.chat.completions.create(
                model=model, messages=PROMPT, extra_headers={"Trace-Id": run_id}
            )
        set_to = {"scope": "run", "subject": run_id, "max_tokens": 1}
        assert client.put("/v2/budgets", json=set_to).json()["max_tokens"] == 1
        refused = httpx.post(
            f"{server.url}/inference/chat/completions",
            json={"model": "m", "messages": PROMPT},
            headers={"x-api-key": key, "trace-id": run_id},
            trust_env=False,
        )
    [budget] = client.get("/v2/budgets").json()["items"]
    usage = client.get("/v2/usage", params={"group_by": ["model", "trace"]}).json()
    calls = client.get("/v2/usage/calls", params={"limit": 2, "trace": run_id}).json()
    rest = client.get("/v2/usage/calls", params={"cursor": calls["next_cursor"]}).json()
    assert refused.status_code == 402
    assert (budget["spent_tokens"], budget["subject"]) == (300, run_id)
    assert usage["total"]["calls"] == usage["total"]["unpriced_calls"] == 3
    assert (usage["total"]["prompt_tokens"], usage["total"]["completion_tokens"]) == (180, 120)
    groups = {item["group"]["model"]: item["calls"] for item in usage["items"]}
    assert groups == {"m": 2, "n": 1}
    assert [item["model"] for item in calls["items"]] == ["n", "m"]
    assert len(rest["items"]) == 1
    assert calls["items"][0]["trace_id"] == run_id
    assert client.get("/v2/usage", params={"model": "n"}).json()["total"]["calls"] == 1
    later = client.get("/v2/usage", params={"since": "2100-01-01T00:00:00Z"}).json()
    assert later["total"]["calls"] == 0
    assert client.delete(f"/v2/budgets/run/{run_id}").status_code == 200
    assert client.delete(f"/v2/budgets/run/{run_id}").status_code == 404


def test_nothing_of_one_team_is_anothers(
    server: Server, client: httpx.Client, open_client: OpenClient
) -> None:
    put(client, "acme", "http://127.0.0.1:9/v1", "m")
    client.put("/v2/budgets", json={"scope": "team", "max_tokens": 1})
    [model] = client.get("/v2/models").json()["items"]
    other = open_client(server.key(team="other-team"))
    assert other.get("/v2/models").json()["total"] == 0
    assert other.get(f"/v2/models/{model['id']}").status_code == 404
    assert other.get("/v2/providers").json()["total"] == 0
    assert other.delete("/v2/providers/acme").status_code == 404
    assert other.post("/v2/providers/acme/test").status_code == 404
    assert other.get("/v2/budgets").json()["total"] == 0
    assert other.delete("/v2/budgets/team").status_code == 404
    assert client.get("/v2/providers").json()["total"] == 1


def test_the_command_adds_lists_tries_and_removes_providers(server: Server) -> None:
    server.key(team="terminal")
    team = ("--team", "terminal")
    with model_server(lambda question: SAID, api_key=PROVIDER_KEY) as models:
        words = ("add", "local", "--base-url", models.base_url("chat"), "--key-stdin", *team)
        added = hud(server, "providers", *words, "--model", "a/b=c", stdin=f"{PROVIDER_KEY}\n")
        listed = hud(server, "providers", "list", *team, "--json")
        table = hud(server, "providers", "list", *team)
        tried = hud(server, "providers", "test", "local", *team, "--json")
    key = server.key(team="terminal")
    with server.client(key) as client:
        assert [item["model_name"] for item in client.get("/v2/models").json()["items"]] == ["a/b"]
    removed = hud(server, "providers", "remove", "local", *team)
    again = hud(server, "providers", "remove", "local", *team)
    nothing = hud(server, "providers", "list", *team)
    assert added.returncode == listed.returncode == 0, added.stderr
    [provider] = json.loads(listed.stdout)["providers"]
    assert (provider["name"], provider["has_key"]) == ("local", True)
    assert provider["models"][0]["upstream"] == "c"
    assert "a/b" in table.stdout
    assert json.loads(tried.stdout)["ok"] is True
    assert (removed.returncode, again.returncode) == (0, 2)
    assert "there is no provider yet" in nothing.stderr
    for done in (added, listed, table, tried, removed):
        assert PROVIDER_KEY not in done.stdout + done.stderr


def test_the_command_says_what_is_wrong(server: Server) -> None:
    address = ("--base-url", "http://127.0.0.1:9/v1")
    empty = hud(server, "providers", "add", "x", *address, "--key-stdin", stdin="\n")
    dialect = hud(server, "providers", "add", "x", *address, "--dialect", "klingon")
    name = hud(server, "providers", "add", "X y", *address)
    team = hud(server, "providers", "list", "--team", "nobody")
    missing = hud(server, "providers", "test", "nobody")
    assert [done.returncode for done in (empty, dialect, name, team, missing)] == [2] * 5
    assert "stdin holds no key" in empty.stderr
    assert "known: openai, anthropic, gemini" in dialect.stderr
    assert "there is no provider 'nobody'" in missing.stderr
    assert os.environ.get("HUD_HOME") != str(server.home)


def test_what_was_called_is_not_lost_when_the_server_stops(home: Path) -> None:
    with running(home) as server, model_server(lambda question: SAID) as models:
        key = server.key()
        with server.client(key) as client:
            put(client, "acme", models.base_url("chat"), "m")
            with OpenAI(base_url=f"{server.url}/inference", api_key=key) as api:
                for _ in range(5):
                    api.chat.completions.create(model="m", messages=PROMPT)
        assert server.stop() == 0
        server.start()
        with server.client(key) as client:
            assert client.get("/v2/usage").json()["total"]["calls"] == 5
