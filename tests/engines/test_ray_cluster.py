# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster of two working nodes, one of which is killed while it runs a scene."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_jobs import jobs, lives, parent_of, process_of, running, tries

pytest.importorskip("ray")

import ray
from ray.cluster_utils import Cluster

from panoptic_gs.engines import EngineOptions, engine_of
from panoptic_gs.errors import InputError


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs nothing, and two nodes with a core each."""
    # Ray gives its own helpers 15 seconds to start, which a crowded machine may not have.
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")
    try:
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        made.nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    except Exception as error:
        pytest.skip(f"Ray does not start: {error}")
    path = str(Path(__file__).parent)
    ray.init(address=made.address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": path}})
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_node_that_is_killed_loses_no_finished_scene_and_repeats_the_one_that_ran(
    cluster: Any, tmp_path: Path
) -> None:
    engine = engine_of("ray", EngineOptions(folder=tmp_path / "logs"))
    # One finishes, and one waits on each node until somebody says go; the first try of one of them never ends.
    work = jobs(tmp_path, a="works", b="raises", c="waits", d="waits")
    endings = {}

    def follow() -> None:
        for ended in engine.run(work):
            endings[ended.job.name] = ended

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    until = time.monotonic() + 300  # of a machine that others use, too
    while not (tries(tmp_path, "c") and tries(tmp_path, "d") and "a" in endings):
        assert time.monotonic() < until
        time.sleep(0.1)
    nodes = {process: parent_of(process) for process in (process_of(tmp_path, name) for name in "cd")}
    assert len(set(nodes.values())) == 2, "a node with one core runs one scene at a time"
    cluster.remove_node(cluster.nodes[0], allow_graceful=False)
    for process, node in nodes.items():  # what ran there would end by itself some time after its node
        if not lives(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    while running(tmp_path, "c") and running(tmp_path, "d"):
        assert time.monotonic() < until
        time.sleep(0.1)
    (tmp_path / "go").touch()
    thread.join(timeout=300)
    assert not thread.is_alive()

    assert {name: ended.error for name, ended in endings.items()} == {
        "a": None, "b": "ValueError: no luck", "c": None, "d": None,
    }  # fmt: skip
    assert tries(tmp_path, "a") == 1
    assert sorted((tries(tmp_path, "c"), tries(tmp_path, "d"))) == [1, 2]
    (lost,) = (ended for name, ended in endings.items() if name in "cd" and len(ended.attempts) == 2)
    assert "the task or its machine was lost" in (lost.attempts[0].error or "")
    assert lost.result == f"{lost.job.name} done"
    failed = endings["b"]
    assert len(failed.attempts) == tries(tmp_path, "b") == 2


def test_scenes_for_which_no_node_is_large_enough_are_refused(cluster: Any, tmp_path: Path) -> None:
    engine = engine_of("ray", EngineOptions(cpus=64, folder=tmp_path / "logs"))
    with pytest.raises(InputError, match=r"64 and 0.*CPU 1"):
        list(engine.run(jobs(tmp_path, a="works")))
    assert tries(tmp_path, "a") == 0
