"""KubernetesRuntime through the official client, against a local server that speaks its API."""

from __future__ import annotations

import math
import platform
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud import Task, Taskset
from hud._core.errors import InputError, RuntimeFault
from hud._core.outcome import Outcome
from hud.agents.base import Agent
from hud.agents.run import Run
from hud.clients import connect
from hud.environment.runtime_config import RuntimeConfig
from hud.eval.places import place_at
from hud.runtimes.kubernetes import KubernetesRuntime
from hud.runtimes.kubernetes.pod import HOST, OWNER, PodShape
from hud.testing.check_provider import check_provider
from tests.kubernetes_api import KubernetesApi
from tests.needs import need_module

SOURCE = """
import os
from hud import Environment

env = Environment(name="checked")

@env.template()
async def ask(word: str = "yes"):
    answer = yield f"say {word} {os.environ.get('COLOUR')}"
    yield float(answer == word)
"""
BROKEN = "print('no weights here', flush=True)\nraise SystemExit(4)\n"
ROW = Task(env="checked", id="ask")
DEADLINE_S = 120.0


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[KubernetesApi]:
    need_module("kubernetes")
    for name, text in (("good", SOURCE), ("broken", BROKEN)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "env.py").write_text(text)
    server = KubernetesApi({name: tmp_path / name for name in ("good", "broken")})
    async with server.serving():
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
            str(tmp_path / "kubeconfig"),
        )
        yield server
        assert not server.pods, "pods were left behind"


class Say(Agent):
    """Answer with one word."""

    async def __call__(self, run: Run) -> None:
        run.trace.content = "yes"


class Sabotage(Agent):
    """Kill the container of the one pod there is."""

    def __init__(self, api: KubernetesApi) -> None:
        super().__init__()
        self.api = api

    async def __call__(self, run: Run) -> None:
        (name,) = self.api.pods
        self.api.kill(name)
        run.trace.content = "yes"


def asking(**config: object) -> Task:
    return ROW.model_copy(update={"runtime_config": RuntimeConfig.model_validate(config)})


async def test_it_keeps_the_contract_of_providers(api: KubernetesApi) -> None:
    good, broken = KubernetesRuntime("good"), KubernetesRuntime("broken")
    await check_provider(good, ROW, broken=broken, parallel=2, timeout_s=DEADLINE_S)


async def test_rollouts_of_a_taskset_are_graded(api: KubernetesApi) -> None:
    job = await Taskset("words", [ROW]).run(Say(), runtime=KubernetesRuntime("good"), group=2)
    assert [run.reward for run in job.runs] == [1.0, 1.0]
    assert len(api.made) == 2


async def test_what_a_row_asks_becomes_the_pods_requests_and_limits(api: KubernetesApi) -> None:
    gpu = {"count": 2, "type": ["A100", "H100"]}
    resources = {"cpu": 0.5, "memory_mb": 256, "storage_mb": 64, "gpu": gpu, "os": "linux"}
    row = asking(
        image="good", resources=resources, limits={"startup_timeout_s": 60, "run_timeout_s": 90}
    )
    shape = PodShape(env={"COLOUR": "red"}, labels={"team": "red"}, env_from=("keys",))
    runtime = KubernetesRuntime(namespace="others", shape=shape)
    async with runtime(row) as place, connect(place) as client:
        started = await client.start_task("ask", {})
    assert "red" in str(started["prompt"])
    (manifest,) = api.made
    meta, spec = manifest["metadata"], manifest["spec"]
    (container,) = spec["containers"]
    held = {"cpu": "500m", "memory": "256Mi", "ephemeral-storage": "64Mi", "nvidia.com/gpu": "2"}
    assert container["resources"] == {"requests": held, "limits": held}
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert meta["namespace"] == "others"
    assert meta["labels"]["team"] == "red"
    assert meta["labels"].keys() >= {OWNER, HOST}
    assert spec["activeDeadlineSeconds"] == 60 + 90 + 60
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    assert "A100" in str(spec["affinity"])
    assert "127.0.0.1" in container["command"], "the environment listens in the pod only"


async def test_a_pod_that_dies_ends_its_rollout_with_runtime_and_says_why(
    api: KubernetesApi,
) -> None:
    job = await Taskset("words", [ROW]).run(Sabotage(api), runtime=KubernetesRuntime("good"))
    (run,) = job.runs
    assert run.outcome is Outcome.RUNTIME
    assert math.isnan(run.reward)
    assert "OOMKilled" in str(run.trace.error)


async def test_a_failed_start_carries_the_log(api: KubernetesApi) -> None:
    with pytest.raises(RuntimeFault, match=r"status \d+.*no weights here"):
        async with KubernetesRuntime("broken")(ROW):
            pass


async def test_an_image_that_cannot_be_pulled_is_told_at_once(api: KubernetesApi) -> None:
    with pytest.raises(RuntimeFault, match="ErrImagePull: nowhere: not found"):
        async with KubernetesRuntime("nowhere")(ROW):
            pass


async def test_what_a_pod_cannot_have_is_refused_before_anything_is_made(
    api: KubernetesApi,
) -> None:
    tpu = {"type": "v5e", "topology": "2x2"}
    for row, says in (
        (asking(resources={"tpu": tpu}), "a TPU"),
        (asking(resources={"os": "windows"}), "windows"),
    ):
        with pytest.raises(InputError, match=says):
            async with KubernetesRuntime("good")(row):
                pass
    with pytest.raises(InputError, match="names no image"):
        async with KubernetesRuntime()(ROW):
            pass
    assert api.calls == []


async def test_refusals_of_the_api_server_are_told_in_its_words(api: KubernetesApi) -> None:
    for refusal, kind in (
        ((403, "Forbidden", "exceeded quota: compute"), RuntimeFault),
        ((422, "Invalid", "spec.containers[0].image: Required value"), InputError),
        ((500, "InternalError", "etcdserver: leader changed"), RuntimeFault),
    ):
        api.refuses["POST"] = refusal
        with pytest.raises(kind, match=refusal[2].partition("[")[0]):
            async with KubernetesRuntime("good")(ROW):
                pass
    del api.refuses["POST"]


async def test_the_pods_of_a_process_that_is_gone_are_deleted_by_the_next(
    api: KubernetesApi,
) -> None:
    made: list[str] = []
    async with KubernetesRuntime("good")(ROW):
        (pod,) = api.pods.values()
        made.append(pod.name)
        # As if it belonged to a process that has been killed.
        pod.manifest["metadata"]["labels"][OWNER] = "999999999-1"
        async with KubernetesRuntime("good"):
            assert made[0] not in api.pods


async def test_the_pods_of_another_machine_of_the_same_name_stay(api: KubernetesApi) -> None:
    async with KubernetesRuntime("good")(ROW):
        (pod,) = api.pods.values()
        labels = pod.manifest["metadata"]["labels"]
        labels[HOST] = platform.node()  # processes there are none here
        labels[OWNER] = "999999999-1"
        async with KubernetesRuntime("good"):
            assert pod.name in api.pods


def test_a_command_line_names_an_image() -> None:
    runtime = place_at("kubernetes:registry.example/words:3", None)
    assert isinstance(runtime, KubernetesRuntime)
    assert runtime.shape.image == "registry.example/words:3"
