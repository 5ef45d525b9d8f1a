"""A model API of one run's own: its calls pass through here, with a token in place of the key.

For programs that speak to a model by themselves, such as command-line agents, and run where a
provider's key must not be. `proxy` answers, `upstream` asks the provider, `replies` reads what
passes. Which request is whose is `hud.models.wire`, which the platform's gateway goes by, too.
"""

from hud.agents.model_proxy.proxy import ModelProxy, ProxyLimits

__all__ = ["ModelProxy", "ProxyLimits"]
