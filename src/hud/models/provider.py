"""Who serves models: a provider's address, the variables that configure it, and its dialect.

The three whose own dialects are spoken here are constants; all others are rows of the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Dialect(StrEnum):
    """The API a model is asked through."""

    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"
    GEMINI = "gemini"


@dataclass(frozen=True, slots=True)
class ModelProvider:
    """One provider of models.

    Attributes:
        name: As tables call it, and as it stands before a model's name: `groq/…`.
        label: As sentences call it.
        dialect: What it speaks, unless a model says otherwise.
        base_url: Its own address.
        url_variable: Environment variable that replaces the address.
        key_variables: Environment variables its key is looked for in, in this order.
        needs_key: Whether its own address answers nobody without a key.
        prices: As genai-prices calls it; None where that is the name.
    """

    name: str
    label: str
    dialect: Dialect
    base_url: str
    url_variable: str | None = None
    key_variables: tuple[str, ...] = ()
    needs_key: bool = True
    prices: str | None = None


OPENAI = ModelProvider(
    "openai",
    "the OpenAI API",
    Dialect.RESPONSES,
    "https://api.openai.com/v1",
    "OPENAI_BASE_URL",
    ("OPENAI_API_KEY",),
)
ANTHROPIC = ModelProvider(
    "anthropic",
    "the Anthropic API",
    Dialect.MESSAGES,
    "https://api.anthropic.com",
    "ANTHROPIC_BASE_URL",
    ("ANTHROPIC_API_KEY",),
)
GOOGLE = ModelProvider(
    "google",
    "the Gemini API",
    Dialect.GEMINI,
    "https://generativelanguage.googleapis.com",
    "GOOGLE_GEMINI_BASE_URL",
    ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
)
