"""Live screens of rollouts that run here: looked at through the platform, never touched."""
