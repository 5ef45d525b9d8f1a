"""Which versions of Anthropic's own tools a Claude model takes, by its name.

The knowledge is the catalog's (`hud.models.catalog`); here are the names that clouds and routers
give the same models, and what a tool's version asks of a request.
"""

from __future__ import annotations

import re
from functools import lru_cache

from hud.models.catalog import Catalog, NativeTools, UnknownModel, load_catalog

COMPUTER_TOOLSET = "computer_toolset_20260801"

BETAS = {
    "computer_20250124": "computer-use-2025-01-24",
    "computer_20251124": "computer-use-2025-11-24",
    "advisor_20260301": "advisor-tool-2026-03-01",
}
"""What the `anthropic-beta` header names for a tool; the others are generally available."""

_BEDROCK = re.compile(r"arn:aws[\w-]*:bedrock:|(?:[a-z]{2,6}\.)?anthropic\.claude")
_NAMED = re.compile(r"claude-[a-z0-9.-]*[a-z0-9]")
_VERSION = re.compile(r"-v\d+$")


def native_kinds(model: str) -> NativeTools:
    """Return what the API calls the tools that a Claude model was trained on.

    `us.anthropic.claude-sonnet-4-5-20250929-v1:0` and `anthropic/claude-opus-4.6` are known by
    what they hold; a name that holds no model of Anthropic's is taken for the newest. Bedrock has
    no toolset, so models there get the tool before it.
    """
    return _kinds(model, load_catalog())


def is_on_bedrock(model: str) -> bool:
    """Tell whether a name is one of Amazon Bedrock's."""
    return _BEDROCK.match(model) is not None


@lru_cache(maxsize=256)
def _kinds(model: str, catalog: Catalog) -> NativeTools:
    found = _NAMED.search(model)
    names = [_VERSION.sub("", found[0].replace(".", "-"))] if found else [model, "claude-newest"]
    known = NativeTools()
    for name in names:
        try:
            known = catalog.resolve(name).tools
            break
        except UnknownModel:
            continue
    if known.computer == COMPUTER_TOOLSET and is_on_bedrock(model):
        return NativeTools(known.shell, known.editor, known.memory, "computer_20251124")
    return known
