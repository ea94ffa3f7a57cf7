# SPDX-License-Identifier: Apache-2.0
"""Jobs on a Ray cluster, one task a scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from panoptic_gs.engines.jobs import ATTEMPTS, Attempt, Ended, Engine, EngineOptions, Job, attempt, log_of
from panoptic_gs.errors import InputError


@ray.remote(num_cpus=0)
class _Whereabouts:
    """On which machine each job runs: a task that is killed cannot say any more."""

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}

    def note(self, name: str, node: str) -> None:
        self._nodes[name] = node

    def of(self, name: str) -> str | None:
        return self._nodes.get(name)


def _try(job: Job, log: Path, whereabouts: Any) -> Attempt:
    # Not waited for: a task that waits for Ray gives its cores away meanwhile, and another scene begins on them.
    whereabouts.note.remote(job.name, ray.get_runtime_context().get_node_id())
    return attempt(job, log)


class RayEngine:
    """Runs jobs where Ray finds room for them. Scenes and outputs lie on storage that all machines share.

    Args:
        options: ``cpus`` and ``gpus`` of each job, ``address`` of the cluster.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._options = options

    def run(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Run all jobs and yield each when it ended; one that fails is tried once more on another machine.

        Raises:
            InputError: no cluster at the address, or no machine in it that has what a scene is to get.
        """
        own = not ray.is_initialized()
        if own:
            self._connect()
        try:
            self._require_room()
            yield from self._run(jobs)
        finally:
            if own:
                ray.shutdown()

    def _connect(self) -> None:
        options: dict[str, Any] = {} if self._options.address else {"include_dashboard": False}
        try:
            ray.init(address=self._options.address, log_to_driver=False, **options)
        except Exception as error:  # Ray raises bare ones where its own processes do not start in time
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise InputError("--ray-address", f"{self._options.address or 'none'} ({reason})", "a Ray cluster",
                             "Start one with 'ray start --head', or leave it out.") from error  # fmt: skip

    def _require_room(self) -> None:
        if self._another_node(avoid="") is None:
            most = [f"{kind} {max(n['Resources'].get(kind, 0) for n in ray.nodes()):g}" for kind in ("CPU", "GPU")]
            raise InputError(
                "--cpus-per-scene and --gpus-per-scene", f"{self._options.cpus} and {self._options.gpus:g}",
                f"what one machine of the cluster has ({', '.join(most)} at most)", "Ask for less, or add a machine.",
            )  # fmt: skip

    def _run(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        here = ray.get_runtime_context().get_node_id()
        # Beside the caller, so that it outlives every other machine.
        whereabouts = _Whereabouts.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False)
        ).remote()
        ray.get(whereabouts.of.remote(""))  # it is there before the first job has something to say
        waiting: list[tuple[Job, tuple[Attempt, ...]]] = [(job, ()) for job in reversed(jobs)]
        running: dict[Any, tuple[Job, tuple[Attempt, ...]]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < (self._options.at_once or len(jobs)):
                    job, before = waiting.pop()
                    running[self._submit(job, whereabouts, avoid=None)] = job, before
                (task, *_), _ = ray.wait(list(running), num_returns=1)
                job, before = running.pop(task)
                found, node = self._answered(task, job, whereabouts)
                tried = (*before, found)
                if found.error is not None and len(tried) < ATTEMPTS:
                    running[self._submit(job, whereabouts, avoid=node)] = job, tried
                else:
                    yield Ended(job, tried)
        finally:
            for task in running:
                ray.cancel(task, force=True)
            ray.kill(whereabouts)  # pyright: ignore[reportArgumentType] (it is a handle)

    def _submit(self, job: Job, whereabouts: Any, avoid: str | None) -> Any:
        strategy: Any = "DEFAULT"
        other = None if avoid is None else self._another_node(avoid)
        if other is not None:
            strategy = NodeAffinitySchedulingStrategy(other, soft=True)
        task = ray.remote(_try).options(
            num_cpus=self._options.cpus, num_gpus=self._options.gpus, max_retries=0, scheduling_strategy=strategy,
            name=job.name,
        )  # fmt: skip
        return task.remote(job, log_of(job, self._options), whereabouts)

    def _another_node(self, avoid: str) -> str | None:
        for node in ray.nodes():
            has = node.get("Resources", {})
            enough = has.get("CPU", 0) >= self._options.cpus and has.get("GPU", 0) >= self._options.gpus
            if node["Alive"] and node["NodeID"] != avoid and enough:
                return node["NodeID"]
        return None

    def _answered(self, task: Any, job: Job, whereabouts: Any) -> tuple[Attempt, str | None]:
        try:
            found: Any = ray.get(task)
        except RayError as error:
            node: Any = ray.get(whereabouts.of.remote(job.name))
            return Attempt(_host(node), error=f"{type(error).__name__}: the task or its machine was lost"), node
        where: Any = ray.get(whereabouts.of.remote(job.name))
        return found, where


def _host(node: str | None) -> str:
    names = {known["NodeID"]: known["NodeManagerHostname"] for known in ray.nodes()}
    return f"{names.get(node or '', 'a machine')}, node {(node or 'unknown')[:8]}"


def make(options: EngineOptions) -> Engine:
    """The engine of a Ray cluster."""
    return RayEngine(options)
