"""Environments lent to a caller: a place of their own here, reached through a tunnel."""
