"""Rollouts on a Ray cluster: long-lived actors keep a warm parent each, and hold what a task asks.

`runtime` is the provider, `pool` and `worker` the driver's end of the actors, `keeper` what runs
on a node, `gate` and `door` the two ends of a control connection, `greeting` how they know each
other, `asks` what a row asks of Ray, `cluster` the connection to Ray itself.
"""

from hud.runtimes.ray.runtime import RayRuntime, named

__all__ = ["RayRuntime", "named"]
