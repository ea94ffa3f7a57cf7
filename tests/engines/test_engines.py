# SPDX-License-Identifier: Apache-2.0
"""Engines run each scene in a process of its own: a failure is tried again, named, and stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_jobs import jobs, tries

from panoptic_gs.engines import EngineOptions, engine_of
from panoptic_gs.errors import InputError

HOW = {"a": "works", "b": "dies once", "c": "bad input", "d": "raises", "e": "dies"}


def check(endings: list, folder: Path, logs: Path, died: str) -> None:
    found = {ended.job.name: ended for ended in endings}
    assert found.keys() == HOW.keys()
    assert {name for name, ended in found.items() if ended.error is None} == {"a", "b"}
    assert found["a"].result == "a done"
    assert found["b"].result == "b done"
    assert died in (found["b"].attempts[0].error or "")
    assert found["c"].error == "c: nothing; expected something"
    assert found["d"].error == "ValueError: no luck"
    assert died in (found["e"].error or "")
    assert {name: tries(folder, name) for name in HOW} == {"a": 1, "b": 2, "c": 2, "d": 2, "e": 2}
    assert found["c"].reasons().count("nothing") == 1, "what repeats on one machine is said once"
    assert "working on a" in (logs / "a.log").read_text()
    assert "Traceback" in (logs / "d.log").read_text()


def test_local(tmp_path: Path) -> None:
    engine = engine_of("local", EngineOptions(folder=tmp_path / "logs", at_once=2))
    check(list(engine.run(jobs(tmp_path, **HOW))), tmp_path, tmp_path / "logs", "ended by signal 9")


def test_slurm_through_submitit_s_local_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the processes that it starts
    engine = engine_of("slurm", EngineOptions(folder=tmp_path / "logs", slurm="local"))
    check(list(engine.run(jobs(tmp_path, **HOW))), tmp_path, tmp_path / "logs", "Slurm's job")


def test_what_slurm_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    asked = {}
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", lambda self, **given: asked.update(given))
    monkeypatch.setattr(submitit.AutoExecutor, "map_array", lambda self, function, *lists: [])
    options = EngineOptions(4, 1.5, 3, folder=tmp_path, hours=0.5, partition="gpu")
    engine = engine_of("slurm", options)
    engine._submitted(jobs(tmp_path, a="works"), avoid="node7")  # pyright: ignore[reportAttributeAccessIssue]
    assert asked == {
        "name": "panoptic-gs", "cpus_per_task": 4, "gpus_per_node": 2, "timeout_min": 30, "slurm_partition": "gpu",
        "slurm_array_parallelism": 3, "slurm_additional_parameters": {"requeue": True}, "slurm_exclude": "node7",
    }  # fmt: skip


def test_a_machine_without_slurm_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="srun"):
        list(engine_of("slurm", EngineOptions(folder=tmp_path)).run(jobs(tmp_path, a="works")))


@pytest.mark.parametrize(
    "options", [{"cpus": 0}, {"gpus": -1.0}, {"gpus": float("nan")}, {"at_once": 0}, {"hours": 0.0}]
)
def test_options_out_of_range(options: dict) -> None:
    with pytest.raises(InputError, match=r"per-scene|at-once"):
        EngineOptions(**options)


def test_an_engine_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match="pip install 'panoptic-gs") as refused:
        engine_of("ray")
    assert "[cluster]" in str(refused.value)
    with pytest.raises(InputError, match="any of local, ray, slurm"):
        engine_of("kubernetes")  # pyright: ignore[reportArgumentType]
