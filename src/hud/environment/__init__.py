"""The serve side: declare environments, find them in sources, serve them.

Imports neither clients nor agents; the protocol package is what it shares with them.
"""

from hud.environment.arguments import (
    Answer,
    DataFileArg,
    DataFileRef,
    DataFilesArg,
    GradingArg,
    PromptArg,
)
from hud.environment.environment import Environment
from hud.environment.loader import load_environment
from hud.protocol.capability import Capability

__all__ = [
    "Answer",
    "Capability",
    "DataFileArg",
    "DataFileRef",
    "DataFilesArg",
    "Environment",
    "GradingArg",
    "PromptArg",
    "load_environment",
]
