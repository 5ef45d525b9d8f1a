"""Browser-use as an agent: the harness of the PyPI package, in an interpreter of its own."""

from hud.agents.browser_use.agent import BrowserUseAgent
from hud.agents.types import BrowserUseConfig

__all__ = ["BrowserUseAgent", "BrowserUseConfig"]
