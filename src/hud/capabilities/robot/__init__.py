"""The robot capability's client side."""

from hud.capabilities.robot.client import ActionRejected, RobotClient

__all__ = ["ActionRejected", "RobotClient"]
