"""Thin re-exports of the errors users raise and catch.

An agent raises `ModelFault` or `CapabilityFault` for what broke beyond its reach, a provider
`RuntimeFault`, a grader `GraderFault`; each ends the rollout ungraded, with that outcome.
"""

from hud._core.errors import (
    AgentFault,
    CapabilityFault,
    EnvironmentFault,
    Fault,
    GraderFault,
    HudError,
    InputError,
    ModelFault,
    RolloutCancelled,
    RolloutTimeout,
    RuntimeFault,
    StoreError,
)
from hud.protocol.frames import HudProtocolError

__all__ = [
    "AgentFault",
    "CapabilityFault",
    "EnvironmentFault",
    "Fault",
    "GraderFault",
    "HudError",
    "HudProtocolError",
    "InputError",
    "ModelFault",
    "RolloutCancelled",
    "RolloutTimeout",
    "RuntimeFault",
    "StoreError",
]
