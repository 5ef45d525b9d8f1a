"""A wall around what acts for the agent: its shell, its browser, its desktop; and around graders.

Knows nothing of environments, capabilities or graders; those describe what they want in a `spec`.
"""
