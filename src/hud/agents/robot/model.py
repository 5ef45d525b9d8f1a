"""The policy behind a robot's agent: how it is run, alone or for many rollouts at once.

Gathering rollouts into one inference is `batching`; a policy on another machine is `remote`.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from hud._core.errors import AgentFault, InputError
from hud.agents.robot.adapter import load_torch
from hud.protocol.openpi import to_numpy

if TYPE_CHECKING:
    from hud.agents.robot.adapter import ActionArray


class Model:
    """A policy and how it is run. It keeps nothing between calls: any rollout may come next.

    Attributes:
        is_batchable: Whether `infer` takes observations of several rollouts.
    """

    is_batchable: ClassVar[bool] = True

    def infer(self, batch: Any) -> ActionArray:
        """Return one chunk per rollout `[N, T, A]`; may block, and is called in a thread.

        Args:
            batch: What the adapter made of one observation; from `BatchedModel` those of N
                rollouts, every array and tensor of theirs stacked to `[N, …]` and everything else
                (texts, numbers) in a list of N.
        """
        raise NotImplementedError(f"{type(self).__name__} must define infer")

    async def ainfer(self, batch: Any) -> ActionArray:
        """Return the chunk `[T, A]` for what the adapter made of one observation.

        Raises:
            AgentFault: when `infer` returns something else than `[1, T, A]`.
        """
        found = await asyncio.to_thread(self.infer, batch)
        return chunks_of(found, 1, type(self).__name__)[0]


def chunks_of(found: Any, rollouts: int, who: str) -> ActionArray:
    """Return what `infer` returned as `[N, T, A]`; one action each, `[N, A]`, is a chunk as well.

    Raises:
        AgentFault: when it is neither.
    """
    try:
        array: Any = to_numpy(found)
    except (TypeError, ValueError) as error:
        raise AgentFault(f"{who}.infer returned no array of actions: {error}") from error
    shape = list(array.shape)
    if len(shape) == 2 and shape[0] == rollouts:
        array = array[:, None]
    if array.ndim < 3 or array.shape[0] != rollouts or array.size == 0:
        raise AgentFault(
            f"{who}.infer returned actions of shape {shape} for {rollouts} rollout(s)",
            hint="it must be [N, T, A]: a chunk of T actions for each of N rollouts",
        )
    return array


class LeRobotModel(Model):
    """A LeRobot policy with its two processors; one inference at a time.

    It runs `predict_action_chunk`, so the policy's own queue of actions (`select_action`) is left
    alone. `preprocess` and `postprocess` are the pipelines of `make_pre_post_processors`, which
    give a lone observation its leading dimension.
    """

    def __init__(self, policy: Any, preprocess: Any, postprocess: Any) -> None:
        """Take the three over; nothing is moved or loaded.

        Raises:
            InputError: when the policy predicts no chunks.
        """
        if not callable(getattr(policy, "predict_action_chunk", None)):
            raise InputError(
                f"{type(policy).__name__} has no predict_action_chunk",
                hint="LeRobot policies have it since 0.3; wrap others in a Model of your own",
            )
        self.policy = policy
        self.preprocess = preprocess
        self.postprocess = postprocess
        self._turn = threading.Lock()

    def infer(self, batch: Any) -> ActionArray:
        torch = load_torch("LeRobotModel")
        with self._turn, torch.inference_mode():
            chunk = self.postprocess(self.policy.predict_action_chunk(self.preprocess(batch)))
        if chunk.ndim != 3:
            raise AgentFault(
                f"{type(self.policy).__name__} predicted actions of shape {list(chunk.shape)}, "
                "not [N, T, A]",
                hint="the preprocessor must add the leading dimension to a lone observation",
            )
        return chunk.float().cpu().numpy()
