"""A real Ray cluster of several nodes on this machine, for tests: nodes come and go.

It runs in a process of its own that is no descendant of the tests', so that what a provider leaves
behind can be told from what Ray keeps.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NODES, CPUS = 3, 4
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray then knows this machine as 127.0.0.1, whatever else it is called.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_START_S = 240.0
_PROGRAM = """
import json, os, socket, sys
from ray.cluster_utils import Cluster
conn = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
lines = conn.makefile("rw")
def say(**what):
    lines.write(json.dumps(what) + "\\n")
    lines.flush()
about = dict(num_cpus=int(sys.argv[3]), include_dashboard=False, node_ip_address="127.0.0.1")
cluster = Cluster(initialize_head=True, head_node_args=about)
nodes = [cluster.add_node(wait=False, **about) for _ in range(int(sys.argv[2]) - 1)]
cluster.wait_for_nodes()
say(address=cluster.address)
try:
    for line in lines:
        ask = json.loads(line)
        if ask["do"] == "add":
            node = cluster.add_node(num_cpus=int(sys.argv[3]), node_ip_address="127.0.0.1",
                                    include_dashboard=False, num_gpus=ask["gpus"])
            say(node=node.node_id)
        elif ask["do"] == "kill":
            found = [n for n in cluster.worker_nodes if n.node_id == ask["node"]]
            for node in found:
                raylet = node.all_processes["raylet"][0].process.pid
                mark = b"RAY_RAYLET_PID=%d\\0" % raylet
                os.kill(raylet, 9)
                for entry in os.listdir("/proc"):
                    if entry.isdigit():
                        try:
                            with open(f"/proc/{entry}/environ", "rb") as held:
                                hit = mark in held.read()
                            with open(f"/proc/{entry}/cmdline", "rb") as words:
                                # Guards clear away here what a lost machine takes with it.
                                if hit and b"hud-guard" not in words.read():
                                    os.kill(int(entry), 9)
                        except OSError:
                            pass
                cluster.remove_node(node, allow_graceful=False)
            say(killed=len(found))
finally:
    cluster.shutdown()
"""


@dataclass(slots=True)
class RayCluster:
    """A running cluster.

    Attributes:
        address: `host:port`, what `ray.init` takes.
    """

    address: str
    _lines: Any = field(repr=False)

    def add_node(self, *, gpus: int = 0) -> str:
        """Start one more node and return its id."""
        return str(self._ask(do="add", gpus=gpus)["node"])

    def kill_node(self, node: str) -> None:
        """Kill every process of a node; the head cannot be killed."""
        assert self._ask(do="kill", node=node)["killed"] == 1, f"there is no node {node}"

    def _ask(self, **what: Any) -> dict[str, Any]:
        self._lines.write(json.dumps(what) + "\n")
        self._lines.flush()
        return dict(json.loads(self._lines.readline()))


@contextmanager
def ray_cluster(folder: Path, *, nodes: int = NODES, cpus: int = CPUS) -> Generator[RayCluster]:
    """Run a cluster while the block is open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_START_S)
        port = server.getsockname()[1]
        log = folder / "ray-cluster.log"
        command = [sys.executable, "-c", _PROGRAM, str(port), str(nodes), str(cpus)]
        # A shell starts it and ends, so that it belongs to init.
        with log.open("wb") as out:
            subprocess.run(
                ["/bin/sh", "-c", '"$@" & echo $! > "$PIDFILE"', "sh", *command],
                check=True,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **ENVIRONMENT, "PIDFILE": str(folder / "ray-cluster.pid")},
            )
        try:
            conn, _ = server.accept()
        except TimeoutError:
            raise AssertionError(f"no Ray cluster came up: {log.read_text()[-2000:]}") from None
    with conn:
        conn.settimeout(_START_S)
        lines = conn.makefile("rw")
        said = lines.readline()
        assert said, f"no Ray cluster came up: {log.read_text()[-2000:]}"
        try:
            yield RayCluster(json.loads(said)["address"], lines)
        finally:
            conn.shutdown(socket.SHUT_WR)
            while lines.readline():
                pass
