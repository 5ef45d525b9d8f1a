"""Foundations every layer may use: errors, ids, JSON, streams, processes, settings, redaction.

Nothing here knows about environments, agents, runs or the platform.
"""
