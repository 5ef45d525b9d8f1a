"""Run one task with browser-use, in an interpreter that has it, and tell a pipe what happens.

This file is started by its path and imports the standard library and browser-use, never the
package it lies in. One line of JSON comes in on standard input, with the task, the browser's
address, the model and its key; each event goes out as one on standard output. When standard input
ends, whoever asked is gone, and so is this process.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import os
import sys
import threading
from datetime import UTC, datetime
from typing import Any

_TEXT_LIMIT = 200_000
_PROBE_S = 10.0
# Browser-use ends a run after so many steps in a row that failed, the last one to say so included.
_FAILURES = 5
# A step may wait for several answers: the next action, an extraction, a summary of what was.
_ANSWERS_PER_STEP = 3
_ACTIONS_S = 600.0
_CUT = {"ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ServerDisconnectedError"}


class Line:
    """The way out: events, one line of JSON each."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb")

    def say(self, event: str, /, **fields: Any) -> None:
        text = json.dumps({"type": event, **fields}, ensure_ascii=False, default=str)
        self._file.write(text.encode("utf-8", "replace") + b"\n")
        self._file.flush()


class Watch:
    """What happens at the model: tokens, times, and a failure of its API.

    Attributes:
        broken: Done with what broke, once going on makes no sense.
        malformed: Whether the last answer was none that browser-use can use, or was cut (`length`).
    """

    def __init__(self, dialect: str, limit_s: float) -> None:
        self.broken: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.malformed: str | None = None
        self.times: tuple[str, str] | None = None
        self._dialect = dialect
        self._limit_s = limit_s
        self._calls: list[dict[str, int | None]] = []

    def over(self, base: Any) -> Any:
        """Return a class of browser-use's for a model's API with its calls watched."""
        watch = self
        model_class: type[Any] = base

        class Watched(model_class):
            async def ainvoke(self, messages: Any, output_format: Any = None, **kwargs: Any) -> Any:
                started_at = _now()
                try:
                    async with asyncio.timeout(watch._limit_s):
                        asked: Any = super()
                        answer: Any = await asked.ainvoke(messages, output_format, **kwargs)
                except Exception as error:
                    failure = watch._read(error)
                    if failure is None:
                        raise
                    if not watch.broken.done():
                        watch.broken.set_result(failure)
                    # Raised, it would count as one more step that failed, and the next one begin.
                    await asyncio.Event().wait()
                    raise
                watch.malformed, watch.times = None, (started_at, _now())
                watch._count(answer.usage, self.provider)
                return answer

        return Watched

    def calls(self) -> list[dict[str, int | None]]:
        """Return the tokens of each call since this was last asked."""
        calls, self._calls = self._calls, []
        return calls

    def _count(self, usage: Any, provider: str) -> None:
        if usage is None:
            self._calls.append({})
            return
        written = usage.prompt_cache_creation_tokens
        # Of Anthropic's counts, browser-use leaves out what is written to the cache.
        prompt = usage.prompt_tokens + ((written or 0) if provider == "anthropic" else 0)
        self._calls.append(
            {
                "prompt_tokens": prompt,
                "completion_tokens": usage.completion_tokens,
                "cached_tokens": usage.prompt_cached_tokens,
                "cache_write_tokens": written,
            }
        )

    def _read(self, error: Exception) -> dict[str, Any] | None:
        """Return what broke; None for an answer the model is to blame for."""
        if isinstance(error, TimeoutError):
            return _of_the_model("timeout", "no answer in time")
        names = _names(error)
        if "ModelOutputTruncatedError" in names:
            self.malformed = "length"
            return None
        if "ValidationError" in names:
            self.malformed = "malformed_tool_call"
            return None
        if "ModelProviderError" not in names:
            return {"boundary": "agent", "detail": f"{type(error).__name__}: {error}"}
        cause: Any = error.__cause__
        if self._is_the_models_own(error, cause):
            self.malformed = "malformed_tool_call"
            return None
        return _failed_call(cause, str(error))

    def _is_the_models_own(self, error: Any, cause: Any) -> bool:
        if cause is None:
            return error.status_code == 500  # 502 is an answer that is no reply of that API at all
        names = _names(cause)
        return "ValidationError" in names or ("ValueError" in names and self._dialect != "chat")


def _failed_call(cause: Any, message: str) -> dict[str, Any]:
    names = _names(cause)
    if names & {"APITimeoutError", "TimeoutException", "TimeoutError"}:
        return _of_the_model("timeout", "no answer in time")
    if names & {"APIConnectionError", "TransportError", "ClientError"} and not hasattr(
        cause, "status"
    ):
        inner = cause.__cause__ or cause.__context__ or cause
        kind = "cut" if _names(inner) & _CUT else "unreachable"
        return _of_the_model(kind, _plain_reason(cause))
    if "APIStatusError" in names:
        code = getattr(cause, "code", None)
        return _of_the_model(
            "status",
            message,
            status=cause.status_code,
            code=code if isinstance(code, str) else None,
            body=getattr(cause, "body", None),
        )
    if isinstance(getattr(cause, "code", None), int) and "APIError" in names:  # google.genai's
        return _of_the_model("status", message, status=cause.code, code=str(cause.status))
    return _of_the_model("other", message)


def _of_the_model(kind: str, detail: str, **fields: Any) -> dict[str, Any]:
    return {"boundary": "model", "kind": kind, "detail": detail, **fields}


def _names(error: Any) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


def _plain_reason(error: BaseException) -> str:
    """Return the system's own words for why a connection failed, where there are any."""
    reason, seen = "", error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno and seen.errno > 0:
            return os.strerror(seen.errno)
        reason = str(seen) or reason
        seen = seen.__cause__ or seen.__context__
    return reason or "the connection broke"


def _model(asked: dict[str, Any], watch: Watch) -> Any:
    """Return browser-use's client for the model's dialect."""
    package = importlib.import_module("browser_use")
    own = {"model": asked["name"], "api_key": asked["api_key"]}
    headers = asked["headers"] or None
    match asked["dialect"]:
        case "messages":
            cls = watch.over(package.ChatAnthropic)
            rest = {"base_url": asked["base_url"], "max_retries": asked["retries"]}
            return cls(**own, **rest, default_headers=headers)
        case "gemini":
            cls = watch.over(package.ChatGoogle)
            options: dict[str, Any] = {"base_url": asked["base_url"], "headers": headers or {}}
            if asked["api_version"]:
                options["api_version"] = asked["api_version"]
            options["retry_options"] = {"attempts": asked["retries"] + 1}
            return cls(**own, vertexai=False, http_options=options)
        case _:
            cls = watch.over(package.ChatOpenAI)
            rest = {"base_url": asked["base_url"], "max_retries": asked["retries"]}
            return cls(**own, **rest, default_headers=headers)


def _session(address: str) -> Any:
    """Return a session with a browser that belongs to somebody else: it is left as it is.

    No size of its own, no extension, no permission, no folder for downloads, no marks drawn into
    pages; and no animation on empty pages, whose picture comes from the internet.
    """
    package = importlib.import_module("browser_use")
    events = importlib.import_module("browser_use.browser.events")

    session_class: type[Any] = package.BrowserSession

    class Session(session_class):
        async def attach_all_watchdogs(self) -> None:
            is_first = not self._watchdogs_attached
            inherited: Any = super()
            await inherited.attach_all_watchdogs()
            if is_first:
                drawing = self._aboutblank_watchdog
                for event in ("TabCreatedEvent", "TabClosedEvent"):
                    drawing.detach_handler_from_session(
                        self, getattr(events, event), getattr(drawing, f"on_{event}")
                    )

    profile = package.BrowserProfile(
        cdp_url=address,
        is_local=False,
        keep_alive=True,
        headless=False,
        no_viewport=True,
        enable_default_extensions=False,
        captcha_solver=False,
        highlight_elements=False,
        permissions=[],
        downloads_path="",
        auto_download_pdfs=False,
    )
    return Session(browser_profile=profile)


class Work:
    """One task, from the request to its end."""

    def __init__(self, request: dict[str, Any], line: Line) -> None:
        self._request = request
        self._line = line
        self._watch = Watch(request["model"]["dialect"], request["model"]["timeout_s"])
        self._turns = 0
        self._actions = 0
        self._memory = ""

    async def run(self) -> None:
        """Work on the task until it is done or a limit is reached, and say how it ended."""
        running = asyncio.ensure_future(self._run())
        await asyncio.wait([running, self._watch.broken], return_when=asyncio.FIRST_COMPLETED)
        if self._watch.broken.done():
            self._line.say("broken", **self._watch.broken.result(), usage=self._watch.calls())
        else:
            event, fields = running.result()
            self._line.say(event, **fields, usage=self._watch.calls())

    async def _run(self) -> tuple[str, dict[str, Any]]:
        model = _model(self._request["model"], self._watch)
        steps = self._request["max_steps"]
        task = self._request["task"]
        while True:
            session = _session(self._request["cdp_url"])
            try:
                await session.start()
            except Exception as error:
                return _gone(str(error))
            before = self._turns
            agent = self._agent(task, model, session)
            await agent.run(max_steps=steps - before, on_step_end=self._after_step)
            if not await self._is_lost(agent):
                return self._ended(agent, steps)
            if self._turns in (before, steps):
                return _gone("the connection to it was lost")
            # A browser that a page brought down is started again when it is next connected to.
            task = f"{self._request['task']}\n\nThe browser was started anew in the meantime."
            if self._memory:
                task += f" Your notes until then: {self._memory}"

    def _agent(self, task: str, model: Any, session: Any) -> Any:
        package = importlib.import_module("browser_use")
        target = self._request["target_id"]
        answer_s = self._request["model"]["timeout_s"]
        return package.Agent(
            task=task,
            llm=model,
            browser=session,
            register_new_step_callback=self._on_answer,
            initial_actions=[{"switch": {"tab_id": target[-4:]}}] if target else None,
            extend_system_message=self._request["system_prompt"],
            use_vision=self._request["vision"],
            max_failures=_FAILURES,
            llm_timeout=int(answer_s) + 60,
            step_timeout=int(_ANSWERS_PER_STEP * answer_s + _ACTIONS_S),
            directly_open_url=False,
            use_judge=False,
            calculate_cost=False,
            enable_signal_handler=False,
        )

    async def _on_answer(self, state: Any, output: Any, step: int) -> None:
        """Say what the model was shown and what it wants to do, before it is done."""
        self._turns += 1
        self._memory = output.memory or self._memory
        actions = [_action(action) for action in output.action]
        self._actions = len(actions)
        times = self._watch.times or (None, None)
        self._line.say(
            "turn",
            number=self._turns,
            url=state.url,
            title=state.title,
            screenshot=state.screenshot,
            thinking=output.thinking,
            evaluation=output.evaluation_previous_goal,
            memory=output.memory,
            goal=output.next_goal,
            actions=actions,
            started_at=times[0],
            ended_at=times[1],
            usage=self._watch.calls(),
        )

    async def _after_step(self, agent: Any) -> None:
        """Say what came of the actions, or that there were none."""
        last: list[Any] = agent.state.last_result or []
        results = [_result(result) for result in last]
        if self._actions:
            self._line.say("acted", number=self._turns, results=results, usage=self._watch.calls())
        elif results and not agent.state.stopped:
            error = results[-1]["error"] or "the step failed"
            self._line.say("stumbled", error=error, usage=self._watch.calls())
        self._actions = 0

    async def _is_lost(self, agent: Any) -> bool:
        if agent.history.is_done():
            return False
        if agent.state.stopped:
            return True
        try:
            async with asyncio.timeout(_PROBE_S):
                await agent.browser_session.cdp_client.send.Browser.getVersion()
        except Exception:
            return True
        return False

    def _ended(self, agent: Any, steps: int) -> tuple[str, dict[str, Any]]:
        history = agent.history
        success: bool | None = history.is_successful()
        if history.is_done():
            # The last step may only say that it is the last.
            stop = "max_steps" if self._turns >= steps and success is False else "done"
        elif agent.state.consecutive_failures > _FAILURES:
            stop = self._watch.malformed or "max_steps"
        else:
            stop = "max_steps"
        answer = history.final_result() if history.is_done() else None
        return "ended", {"answer": answer, "success": success, "stop": stop}


def _gone(detail: str) -> tuple[str, dict[str, Any]]:
    return "broken", {"boundary": "capability", "detail": detail}


def _action(action: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = action.model_dump(exclude_unset=True, mode="json")
    name = next(iter(dumped), "unknown")
    arguments = dumped.get(name)
    return {"name": name, "arguments": arguments if isinstance(arguments, dict) else {}}


def _result(result: Any) -> dict[str, Any]:
    text = result.extracted_content or result.long_term_memory or ""
    images: list[dict[str, Any]] = result.images or []
    pictures = [image["data"] for image in images if image.get("data")]
    return {
        "text": text[:_TEXT_LIMIT],
        "error": result.error[:_TEXT_LIMIT] if result.error else None,
        "pictures": pictures,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


async def _main(line: Line) -> None:
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    try:
        line.say("started", version=importlib.metadata.version("browser-use"))
        await Work(request, line).run()
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        line.say("broken", boundary="agent", detail=detail, usage=[])
        raise


if __name__ == "__main__":
    # Whatever else prints, prints to standard error.
    out = Line(os.dup(1))
    os.dup2(2, 1)
    asyncio.run(_main(out))
