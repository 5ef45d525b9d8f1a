"""Rollouts in containers of Docker or Podman."""

from hud.runtimes.docker.runtime import DockerRuntime, named

__all__ = ["DockerRuntime", "named"]
