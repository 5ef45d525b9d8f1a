"""The agent that drives a robot: connect, bind the spaces, observe, infer, act, record.

The loop itself is `episode` (the robot waits for every action) and `realtime` (it does not).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import sys
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from hud._core.errors import AgentFault, InputError, bounded
from hud.agents.base import Agent
from hud.agents.robot.config import MAX_STEPS, RobotConfig
from hud.agents.robot.episode import Ending, Episode, no_limit
from hud.agents.robot.realtime import drive_realtime, is_realtime
from hud.agents.run import Run
from hud.capabilities.robot import RobotClient
from hud.protocol.openpi import load_numpy
from hud.trace.robot_recorder import TraceRecorder

if TYPE_CHECKING:
    from hud.agents.robot.adapter import Adapter
    from hud.agents.robot.dataset import DatasetWriter
    from hud.agents.robot.model import Model
    from hud.protocol.capability import Capability

ROBOT_PROTOCOL = "openpi/0"


class RobotAgent(Agent[RobotConfig]):
    """Drive the environment's robot with a policy.

    Give it a model and an adapter, or set both in a subclass's `__init__`. Every rollout works on
    shallow copies of the agent and of its adapter, so one instance drives any number at once.

    It ends when the environment says so or `should_stop` does (stop reason `done`), or after
    `max_steps` control ticks (`max_steps`); either is graded. What the robot saw and what the
    policy planned is recorded. What the simulator breaks is a `CapabilityFault`, what the policy
    raises an `AgentFault`, and so is an action that the robot cannot carry out.

    Attributes:
        max_steps: The limit in control ticks where neither the call, nor the task's row, nor
            `config` says another; -1 is none.
        log_every: Ticks between two log lines of level info; 0 is never.
        save: Whether episodes are also written as a LeRobot dataset (`DatasetWriter`).
        model: The policy.
        adapter: Translates; None hands observations and chunks through as they are.
    """

    config_cls = RobotConfig
    robot_protocol: ClassVar[str] = ROBOT_PROTOCOL
    max_steps: ClassVar[int] = MAX_STEPS
    log_every: ClassVar[int] = 20
    save: bool = False
    model: Model | None = None
    adapter: Adapter | None = None

    def __init__(
        self,
        config: RobotConfig | None = None,
        *,
        model: Model | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__(config)
        if model is not None:
            self.model = model  # pyright: ignore[reportIncompatibleMethodOverride]
        if adapter is not None:
            self.adapter = adapter

    def should_stop(self, obs: dict[str, Any], *, step: int, max_steps: int) -> bool:
        """Return whether to stop before the next action; the end of the episode always does.

        Args:
            obs: The newest observation, as `RobotClient.get_observation` returns it.
            step: Control ticks so far.
        """
        return bool(obs["terminated"])

    def check_ready(self) -> None:
        """See that there is a policy, and what recording needs.

        Raises:
            InputError: when there is none, or a package is missing.
        """
        if self.model is None:
            raise InputError(
                f"{type(self).__name__} has no policy to drive a robot with",
                hint="RobotAgent(model=…, adapter=…), or set self.model in a subclass",
            )
        load_numpy()
        if self.save:
            from hud.agents.robot.dataset import load_lerobot

            load_lerobot()

    def describe(self) -> dict[str, Any]:
        parts = {"model": self.model, "adapter": self.adapter}
        named = {name: type(part).__qualname__ for name, part in parts.items() if part is not None}
        return {**super().describe(), "policy": named}

    async def __call__(self, run: Run, *, max_steps: int | None = None) -> None:
        """Drive one rollout.

        Args:
            max_steps: Instead of every other limit.

        Raises:
            CapabilityFault: when the simulator or the connection to it breaks.
            AgentFault: when the policy does, or plans what the robot cannot carry out.
            ModelFault: when a policy on another machine does.
        """
        worker = copy.copy(self)
        worker.adapter = copy.copy(self.adapter)
        config = self._config_for(run, max_steps)
        ending = await worker._drive(run, config)
        run.trace.stop_reason = ending.reason
        if run.trace.content is None:
            said = "its limit" if ending.reason == "max_steps" else "the end of the episode"
            run.trace.content = f"{ending.steps} steps, {said}"

    async def _drive(self, run: Run, config: RobotConfig) -> Ending:
        model = self.model
        if model is None:
            raise AgentFault(f"{type(self).__name__} has no policy: set its model")
        limit = no_limit(config.max_steps)
        shown_limit = sys.maxsize if config.max_steps < 0 else config.max_steps
        async with _robot(run, self.robot_protocol) as robot:
            actions, observed = robot.spaces()
            if self.adapter is not None:
                self.adapter.bind(actions, observed)
                self.adapter.reset()
            first = await robot.get_observation()
            in_realtime = is_realtime(first) if config.realtime is None else config.realtime
            if in_realtime and config.ensemble is not None:
                raise AgentFault(
                    "chunks cannot be averaged for a robot that moves in real time",
                    hint="leave ensemble out of the settings, or set realtime=False",
                )
            episode = Episode(
                robot=robot,
                model=model,
                adapter=self.adapter,
                prompt=run.prompt_text,
                config=config,
                limit=limit,
                is_over=lambda obs, step: self.should_stop(obs, step=step, max_steps=shown_limit),
                recorder=_recorder(run, robot, config),
                writer=self._writer(robot, in_realtime=in_realtime),
                log_every=self.log_every,
            )
            try:
                drive = drive_realtime(episode, first) if in_realtime else episode.drive(first)
                ending = await drive
            except BaseException:
                if episode.writer is not None:
                    episode.writer.discard()
                raise
            finally:
                try:
                    # Before anything slow: in a shared simulation others wait for this slot.
                    await robot.close()
                finally:
                    episode.recorder.close()
            if episode.writer is not None:
                await asyncio.to_thread(episode.writer.end_episode)
            return ending

    def _writer(self, robot: RobotClient, *, in_realtime: bool) -> DatasetWriter | None:
        if not self.save:
            return None
        if in_realtime:
            raise AgentFault("in real time nobody knows the action of a tick, so save must be off")
        from hud.agents.robot.dataset import DatasetWriter

        return DatasetWriter(robot.contract, fps=robot.get_control_rate())

    def _config_for(self, run: Run, max_steps: int | None) -> RobotConfig:
        """Return the settings: the class's, under the agent's, under the row's, under the call's.

        Raises:
            AgentFault: when the row has a setting this agent does not take.
        """
        own = getattr(self, "config", None) or RobotConfig()
        given = {name: getattr(own, name) for name in own.model_fields_set}
        settings: dict[str, Any] = {
            "max_steps": self.max_steps,
            **given,
            **(run.agent_config or {}),
        }
        if max_steps is not None:
            settings["max_steps"] = max_steps
        try:
            return RobotConfig.model_validate(settings)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in problem["loc"]) or "settings"
            raise AgentFault(
                f"{type(self).__name__} for task {bounded(run.slug or run.task_id)!r}: "
                f"{name}: {problem['msg']}"
            ) from error


@contextlib.asynccontextmanager
async def _robot(run: Run, protocol: str) -> AsyncGenerator[RobotClient]:
    """Open the run's robot with the token of its episode; close it afterwards.

    The harness records by itself, so the client does not.
    """
    row = _row(run, protocol)
    token = (run.bindings.get(row.name) or {}).get("token")
    robot = await run.client.open(row.name, RobotClient, token=token, record=False)
    try:
        yield robot
    finally:
        await robot.close()


def _row(run: Run, protocol: str) -> Capability:
    """Return the robot's row: the one the template bound, where there are several."""
    bound: list[Capability] = []
    for name in run.bindings:
        with contextlib.suppress(InputError):
            row = run.client.binding(name)
            if row.protocol == protocol:
                bound.append(row)
    return bound[0] if len(bound) == 1 else run.client.binding(protocol)


def _recorder(run: Run, robot: RobotClient, config: RobotConfig) -> TraceRecorder:
    actions, observed = robot.spaces()
    return TraceRecorder(
        run=run,
        fps=robot.get_control_rate(),
        obs_space=observed,
        action_names=actions.get("names"),
        video=config.video,
        stills_every=config.stills_every,
    )
