"""A pod per rollout on a Kubernetes cluster, through the official client.

`runtime` is the provider, `pod` the manifest and what a pod's status says, `api` the calls, and
`tunnel` the way to a pod's control port through the API server.
"""

from hud.runtimes.kubernetes.runtime import KubernetesRuntime, named

__all__ = ["KubernetesRuntime", "named"]
