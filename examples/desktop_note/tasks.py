"""Tasks of the example: a plain note, and one that no keyboard layout has all keys for."""

from env import env, note

__all__ = ["env", "tasks"]

tasks = [note(text="Buy 3 apples & 1 loaf."), note(text="Grüße aus Kraków, 東京 at 5 €")]
