"""Who serves models: a provider's address, the variables that configure it, and its dialect."""

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
        name: As prices and tables call it.
        label: As sentences call it.
        dialect: What it speaks, unless a model says otherwise.
        base_url: Its own address.
        url_variable: Environment variable that replaces the address.
        key_variables: Environment variables its key is looked for in, in this order.
    """

    name: str
    label: str
    dialect: Dialect
    base_url: str
    url_variable: str | None = None
    key_variables: tuple[str, ...] = ()


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
