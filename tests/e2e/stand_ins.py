"""Small programs called as the vendors' are, for tests of command-line agents without these.

Each really asks the model API it is told of, over HTTP, with the token it is told; it does what
the model says (one tool, a shell) and prints what its vendor's program would.
"""

from __future__ import annotations

# What all of them share: one request, streamed or not, over TCP or a Unix socket.
_SHARED = """
import http.client, json, os, socket, subprocess, sys
from urllib.parse import urlsplit

class Local(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

def post(where, path, headers, body):
    if where.startswith("http"):
        parts = urlsplit(where)
        link = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        path = parts.path + path
    else:
        link = Local(where)
    link.request("POST", path, json.dumps(body), {"content-type": "application/json", **headers})
    reply = link.getresponse()
    data = reply.read()
    if reply.status != 200:
        sys.stderr.write("API Error: %d %s\\n" % (reply.status, data.decode()))
        failed(reply.status, data.decode())
        sys.exit(1)
    return data

def events(data):
    for line in data.decode().splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])

def shell(command):
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    return done.stdout + done.stderr

def say(line):
    print(json.dumps(line), flush=True)

def failed(status, text):
    pass
"""

CLAUDE = f"""#!/usr/bin/env python3
{_SHARED}
args = sys.argv[1:]
assert args[0] == "-p" and "--verbose" in args, args
option = lambda name: args[args.index(name) + 1]
assert option("--output-format") == "stream-json"
assert option("--permission-mode") == "bypassPermissions" and "Bash" in option("--allowedTools")
model = option("--model")
assert os.environ["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == model
assert not os.environ.get("ANTHROPIC_API_KEY")
say({{"type": "system", "subtype": "init"}})
messages = [{{"role": "user", "content": sys.stdin.read()}}]
tools = [{{"name": "Bash", "description": "run", "input_schema": {{"type": "object"}}}}]
headers = {{"authorization": "Bearer " + os.environ["ANTHROPIC_AUTH_TOKEN"],
           "anthropic-version": "2023-06-01"}}

def failed(status, text):
    say({{"type": "result", "subtype": "success", "is_error": True,
         "result": "API Error: %d %s" % (status, text)}})

while True:
    data = post(os.environ["ANTHROPIC_BASE_URL"], "/v1/messages?beta=true", headers,
                {{"model": model, "max_tokens": 1000, "messages": messages, "tools": tools,
                 "stream": True}})
    blocks = []
    for event in events(data):
        if event["type"] == "content_block_start":
            blocks.append({{**event["content_block"], "json": ""}})
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            blocks[-1]["text"] = blocks[-1].get("text", "") + delta.get("text", "")
            blocks[-1]["json"] += delta.get("partial_json", "")
    content, results = [], []
    for block in blocks:
        if block["type"] == "text":
            content.append({{"type": "text", "text": block["text"]}})
        elif block["type"] == "tool_use":
            asked = json.loads(block["json"] or "{{}}")
            content.append({{"type": "tool_use", "id": block["id"], "name": block["name"],
                            "input": asked}})
            results.append({{"type": "tool_result", "tool_use_id": block["id"],
                            "content": shell(asked["command"])}})
    say({{"type": "assistant", "message": {{"content": content}}}})
    messages.append({{"role": "assistant", "content": content}})
    if not results:
        text = "".join(block.get("text", "") for block in content)
        say({{"type": "result", "subtype": "success", "is_error": False, "result": text}})
        break
    messages.append({{"role": "user", "content": results}})
"""

CODEX = f"""#!/usr/bin/env python3
{_SHARED}
args = sys.argv[1:]
assert args[:2] == ["exec", "--json"] and args[-1] == "-", args
assert "--dangerously-bypass-approvals-and-sandbox" in args
settings = dict(args[at + 1].split("=", 1) for at, word in enumerate(args) if word == "-c")
assert json.loads(settings["model_provider"]) == "hud"
row = lambda name: json.loads(settings["model_providers.hud." + name])
assert row("wire_api") == "responses"
headers = {{"authorization": "Bearer " + os.environ[row("env_key")]}}
items = [{{"role": "user", "content": sys.stdin.read()}}]
tools = [{{"type": "function", "name": "shell", "parameters": {{"type": "object"}}}}]
say({{"type": "thread.started", "thread_id": "1"}})

def failed(status, text):
    say({{"type": "error", "message": text}})
    say({{"type": "turn.failed", "error": {{"message": text}}}})

while True:
    data = post(row("base_url"), "/responses", headers,
                {{"model": args[args.index("--model") + 1], "input": items, "tools": tools,
                 "stream": True, "store": False}})
    reply = next(e["response"] for e in events(data) if e["type"] == "response.completed")
    calls = [item for item in reply["output"] if item["type"] == "function_call"]
    items += reply["output"]
    for item in reply["output"]:
        if item["type"] == "message":
            text = "".join(part["text"] for part in item["content"])
            say({{"type": "item.completed", "item": {{"type": "agent_message", "text": text}}}})
    for call in calls:
        output = shell(json.loads(call["arguments"])["command"])
        items.append({{"type": "function_call_output", "call_id": call["call_id"],
                      "output": output}})
    if not calls:
        say({{"type": "turn.completed", "usage": {{}}}})
        break
"""

# `own ADDRESS MODEL PROMPT`: one of nobody's, on Chat Completions, with a JSON line at the end.
OWN = f"""#!/usr/bin/env python3
{_SHARED}
address, model, prompt = sys.argv[1:4]
headers = {{"authorization": "Bearer " + os.environ["OWN_KEY"]}}
messages = [{{"role": "user", "content": prompt}}]
function = {{"name": "shell", "parameters": {{"type": "object"}}}}
print("working")
while True:
    data = post(address, "/v1/chat/completions", headers,
                {{"model": model, "messages": messages,
                 "tools": [{{"type": "function", "function": function}}]}})
    message = json.loads(data)["choices"][0]["message"]
    messages.append(message)
    for call in message.get("tool_calls") or []:
        output = shell(json.loads(call["function"]["arguments"])["command"])
        messages.append({{"role": "tool", "tool_call_id": call["id"], "content": output}})
    if not message.get("tool_calls"):
        say({{"answer": message["content"]}})
        break
"""
