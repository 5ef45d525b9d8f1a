"""A gymnasium environment that records what is done with it, wherever it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from hud.environment.robot.contract import Actions, derive, merge, observed
from hud.environment.robot.jobs import JobRecorder
from hud.environment.robot.sims import SUCCESS_KEYS, info_of, part
from hud.protocol.openpi import load_numpy

DEFAULT_RATE = 10


class TracedEnv:
    """`env`, alone or vectorised, with every episode recorded as a run of one job.

    Everything but `reset`, `step` and `close` is the environment's own. The job begins with the
    first `reset` and ends with `close`, or the end of a `with` block.

    Args:
        job: Name of the job; else the environment's id.
        job_id: Go on with a job instead of beginning one.
        task: What the robot is to do.
        fps: Steps per second; else the environment's own `render_fps`, else 10.
        contract: A file that adds names to what the spaces say, when it exists.
        record_indices: Which slots of a vector environment to record; all of them otherwise.
    """

    def __init__(
        self,
        env: Any,
        *,
        job: str | None = None,
        job_id: str | None = None,
        task: str | None = None,
        fps: int | None = None,
        contract: str | Path | None = "contract.json",
        record_indices: list[int] | None = None,
        video: bool = True,
    ) -> None:
        self.env = env
        self._is_vector = hasattr(env, "single_observation_space")
        space = env.single_observation_space if self._is_vector else env.observation_space
        action = env.single_action_space if self._is_vector else env.action_space
        self._count = int(env.num_envs) if self._is_vector else 1
        self._leaves = observed(space)
        spec: Any = getattr(env, "spec", None)
        self._name = str(getattr(spec, "id", None) or type(getattr(env, "unwrapped", env)).__name__)
        metadata = cast("Mapping[str, Any]", getattr(env, "metadata", None) or {})
        rate = fps or metadata.get("render_fps") or DEFAULT_RATE
        derived = derive(self._leaves, action, control_rate=rate, robot_type=self._name)
        path = None if contract is None else Path(contract)
        self.contract = merge(derived, path) if path is not None and path.is_file() else derived
        self._fps, self._task, self._video = round(float(rate)), task, video
        self._job, self._given_id, self._indices = job or self._name, job_id, record_indices
        self._names = Actions(action).feature["names"]
        self._recorder: JobRecorder | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.env, name)

    @property
    def job_id(self) -> str | None:
        """The job that is recorded, or None before the first reset."""
        return None if self._recorder is None else self._recorder.job_id

    def reset(self, **kwargs: Any) -> Any:
        """Reset the environment; episodes that were under way end."""
        found = self.env.reset(**kwargs)
        if self._recorder is None:
            self._recorder = self._begin()
        else:
            self._recorder.close_slots()
        self._recorder.record(obs=self._seen(found[0]))
        return found

    def step(self, action: Any) -> Any:
        """Step the environment, and record the action and what came of it."""
        found = self.env.step(action)
        if self._recorder is not None:
            observation, reward, terminated, truncated, info = found
            numpy = load_numpy()
            done = numpy.atleast_1d(numpy.logical_or(terminated, truncated))
            self._recorder.record(
                obs=self._seen(observation),
                action=self._rows(action),
                reward=numpy.atleast_1d(numpy.asarray(reward, float)),
                done=done,
                success=self._success(info),
            )
        return found

    def close(self) -> None:
        """End the job and close the environment; safe to call twice."""
        recorder, self._recorder = self._recorder, None
        try:
            if recorder is not None:
                recorder.close()
        finally:
            self.env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _begin(self) -> JobRecorder:
        features = cast("dict[str, dict[str, Any]]", self.contract["features"])
        names = {name: row["names"] for name, row in features.items() if "names" in row}
        return JobRecorder(
            self._job,
            self._count,
            record_indices=self._indices,
            fps=self._fps,
            job_id=self._given_id,
            prompt=self._task,
            action_names=self._names,
            state_names=names,
            video=self._video,
        )

    def _seen(self, observation: Any) -> dict[str, Any]:
        numpy = load_numpy()
        slots = [part(observation, slot) if self._is_vector else observation for slot in self._all]
        return {leaf.name: numpy.stack([leaf.read(one) for one in slots]) for leaf in self._leaves}

    def _rows(self, action: Any) -> Any:
        """Return actions `[N, D]`, however deep they are nested."""
        numpy = load_numpy()
        slots = [part(action, slot) if self._is_vector else action for slot in self._all]
        return numpy.stack([numpy.concatenate(_flat(one)) for one in slots])

    def _success(self, info: Mapping[str, Any]) -> Any:
        slots = [info_of(info, slot) if self._is_vector else info for slot in self._all]
        for key in SUCCESS_KEYS:
            if any(key in one for one in slots):
                return load_numpy().array([bool(one.get(key)) for one in slots])
        return None

    @property
    def _all(self) -> range:
        return range(self._count)


wrap = TracedEnv


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [row for item in cast("Mapping[Any, Any]", value).values() for row in _flat(item)]
    if isinstance(value, tuple):
        return [row for item in cast("tuple[Any, ...]", value) for row in _flat(item)]
    return [load_numpy().asarray(value, float).reshape(-1)]
