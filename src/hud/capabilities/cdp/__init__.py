"""The live client of `cdp/1.3`: a browser driven over the Chrome DevTools Protocol."""

from hud.capabilities.cdp.client import CDPClient
from hud.capabilities.cdp.dialogs import Dialog, DialogPolicy
from hud.capabilities.cdp.downloads import Download
from hud.capabilities.cdp.elements import Box
from hud.capabilities.cdp.endpoint import Dial
from hud.capabilities.cdp.errors import (
    CDPError,
    DialogOpen,
    JavaScriptError,
    NavigationError,
    PageGone,
)
from hud.capabilities.cdp.navigation import Navigation
from hud.capabilities.cdp.pages import Tab
from hud.capabilities.cdp.tree import AccessibilityTree, AXNode

__all__ = [
    "AXNode",
    "AccessibilityTree",
    "Box",
    "CDPClient",
    "CDPError",
    "Dial",
    "Dialog",
    "DialogOpen",
    "DialogPolicy",
    "Download",
    "JavaScriptError",
    "Navigation",
    "NavigationError",
    "PageGone",
    "Tab",
]
