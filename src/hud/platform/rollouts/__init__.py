"""Rollouts that the platform runs itself: asked for, queued, run by workers, recorded."""
