"""Record loops over simulators that no task runs: a job, and a run per episode of every slot.

For policies trained or tried outside of environments; a task's own runs are recorded by the
engine.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from typing import Any, Self, cast

from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud._core.settings import get_settings
from hud.protocol.openpi import to_numpy
from hud.store import JobEnd, JobRow, JobStatus, Store, open_store
from hud.store.sink import StoreSink
from hud.trace.recorder import Recorder
from hud.trace.robot_recorder import TraceRecorder
from hud.trace.sinks import RunEnded, RunStarted
from hud.trace.steps import Trace

ENVIRONMENT = "robot"


@dataclass(slots=True)
class _Episode:
    """A run that is under way in one slot."""

    recorder: Recorder
    robot: TraceRecorder
    ticks: int = 0
    success: bool | None = None


class JobRecorder:
    """Record `num_envs` slots, tick by tick. `close` (or the end of a `with` block) ends the job.

    Args:
        record_indices: The slots to record; all of them otherwise.
        fps: Ticks per second, for the video of cameras.
        seed: Kept with the job.
        group_id: Marks the runs as repeats of one task.
        model: The policy's name.
        job_id: Go on with a job instead of beginning one.
        prompt: What the robot was told to do.
        video: Whether cameras become H.264 segments (needs `av`).

    Attributes:
        extra_metadata: Kept with every run that ends from now on.
    """

    def __init__(
        self,
        name: str,
        num_envs: int,
        *,
        record_indices: list[int] | None = None,
        fps: int = 10,
        seed: int | None = None,
        group_id: str | None = None,
        model: str | None = None,
        job_id: str | None = None,
        prompt: str | None = None,
        action_names: list[str] | None = None,
        state_names: dict[str, list[str]] | None = None,
        video: bool = True,
    ) -> None:
        self.name, self.num_envs, self.fps = name, num_envs, fps
        self.seed, self.group_id, self.model = seed, group_id, model
        self.job_id = job_id or new_id()
        self.extra_metadata: dict[str, Any] = {}
        chosen = range(num_envs) if record_indices is None else record_indices
        self.record_indices = [index for index in chosen if 0 <= index < num_envs]
        self._prompt, self._video = prompt, video
        self._action_names, self._state_names = action_names, state_names
        self._episodes: dict[int, _Episode] = {}
        self._members = 0
        self._store: Store | None = open_store()
        self._held = contextlib.ExitStack()
        try:
            self._held.enter_context(self._store.lock_job(self.job_id))
            self._store.put(
                JobRow(
                    id=self.job_id,
                    created_at=_now(),
                    name=name,
                    model=model,
                    runtime="recorded",
                    spec={"seed": seed} if seed is not None else None,
                )
            )
        except BaseException:
            self._held.close()
            self._store.close()
            raise

    @property
    def job_url(self) -> str:
        """Where the job can be looked at; `hud://jobs/ID` where no web address is set."""
        base = get_settings().hud_web_url
        return f"{base.rstrip('/')}/jobs/{self.job_id}" if base else f"hud://jobs/{self.job_id}"

    def record(
        self,
        *,
        obs: Any | None = None,
        frames: dict[str, Any] | None = None,
        action: Any | None = None,
        reward: Any | None = None,
        done: Any | None = None,
        success: Any | None = None,
    ) -> None:
        """Record one tick of all slots; every value has one row per slot `[N, …]`.

        Args:
            obs: State features by name, or one array.
            frames: Images by camera.
            done: Which episodes end with this tick; the next tick of these begins another run.
            success: Which of them are solved; without it, a run's reward is its sum of rewards.
        """
        if self._store is None:
            raise ValueError("JobRecorder: it is closed")
        state = cast("dict[str, Any]", obs) if isinstance(obs, dict) else {"obs": obs}
        features = {**(state if obs is not None else {}), **(frames or {})}
        for slot in self.record_indices:
            episode = self._episodes.get(slot) or self._begin(slot)
            data = {name: _row(value, slot) for name, value in features.items()}
            seen: dict[str, Any] = {"data": data}
            if reward is not None:
                seen["reward"] = float(_row(reward, slot))
            is_over = done is not None and bool(_row(done, slot))
            seen["terminated"] = is_over
            if data or reward is not None:
                episode.robot.record_observation(seen, tick=episode.ticks)
            if action is not None:
                episode.robot.record_inference(_row(action, slot), tick=episode.ticks)
            episode.ticks += 1
            if success is not None:
                episode.success = bool(_row(success, slot))
            if is_over:
                self._end(slot)

    def close_slots(self) -> None:
        """End the runs that are under way; they are graded as they stand."""
        for slot in list(self._episodes):
            self._end(slot)

    def close(self) -> None:
        """End the runs and the job, and make everything durable; safe to call twice."""
        self._close("completed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, tb: object) -> None:
        self._close("completed" if error is None else "interrupted")

    def _close(self, status: JobStatus) -> None:
        store, self._store = self._store, None
        if store is None:
            return
        try:
            for slot in list(self._episodes):
                self._end(slot)
            store.put(JobEnd(id=self.job_id, status=status, ended_at=_now()))
            store.flush()
        finally:
            self._held.close()
            store.close()

    def _begin(self, slot: int) -> _Episode:
        assert self._store is not None
        recorder = Recorder(Trace(trace_id=new_id()), [StoreSink(self._store)])
        recorder.put(
            RunStarted(
                trace_id=recorder.trace_id,
                job_id=self.job_id,
                task_slug=self.name,
                task_id=self.name,
                env=ENVIRONMENT,
                started_at=_now(),
                member=self._members,
                group_id=self.group_id,
                model=self.model,
                runtime="recorded",
            )
        )
        self._members += 1
        robot = TraceRecorder(
            recorder=recorder,
            fps=self.fps,
            prompt=self._prompt,
            action_names=self._action_names,
            state_names=self._state_names,
            video=self._video,
        )
        episode = self._episodes[slot] = _Episode(recorder, robot)
        return episode

    def _end(self, slot: int) -> None:
        episode = self._episodes.pop(slot)
        episode.robot.close()
        total = episode.robot.reward
        score = total if episode.success is None else float(episode.success)
        is_graded = math.isfinite(score)
        extra: dict[str, Any] = {**self.extra_metadata, "slot": slot, "total_reward": total}
        episode.recorder.put(
            RunEnded(
                trace_id=episode.recorder.trace_id,
                job_id=self.job_id,
                status="completed" if is_graded else "error",
                outcome=Outcome.GRADED if is_graded else Outcome.GRADER,
                ended_at=_now(),
                reward=score if is_graded else None,
                error=None if is_graded else f"the sum of rewards is {total}",
                stop_reason="done",
                extra=extra,
            )
        )


def _row(value: Any, slot: int) -> Any:
    return to_numpy(value)[slot]


def _now() -> int:
    return time.time_ns() // 1_000
