# SPDX-License-Identifier: Apache-2.0
"""The same benchmark by every engine: ``python -m benchmarks.engines``.

``benchmarks.association`` associates masks of two small rooms, and of a third whose depth maps are damaged: by a
process each here, on a Ray cluster of two nodes on this machine, and as an array of Slurm (submitit's local executor).
Results have to be the same number for number, and the damaged room has to be tried twice and named. The exit code is 1
where that is not so.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console

from benchmarks.association import AssociationBenchmark
from benchmarks.quality.command import importable
from panoptic_gs.engines import Engine, EngineOptions, engine_of
from panoptic_gs.files import read_json, write_json

EngineName = Literal["local", "ray", "slurm"]
_TRIES = "tries.txt"


@dataclass(frozen=True)
class DamagedRooms(AssociationBenchmark):
    """Small rooms, of which the last has a depth map that cannot be read; Slurm's jobs run here."""

    rooms: int = 3
    first_seed: int = 1
    views: int = 10
    width: int = 96
    levels: tuple[str, ...] = ("default",)
    baselines: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("rooms",)

    def make_scene(self, root: Path, seed: int, recipe: dict[str, Any]) -> None:
        """Make a room's scene folder, and cut the depth maps of the last one short."""
        super().make_scene(root, seed, recipe)
        if seed == self.seeds[-1]:
            for depth in (root / "depth").iterdir():
                depth.write_bytes(depth.read_bytes()[:200])

    def chosen_engine(self, logs: Path) -> Engine | None:
        """The engine."""
        assert self.engine is not None
        return engine_of(self.engine, EngineOptions(address=self.ray_address, folder=logs, slurm="local"))

    def _room_cases(self, root: Path, seed: int, threads: int) -> dict[str, Any]:
        with (self.out / _TRIES).open("a") as file:
            file.write(f"{root.name}\n")
        return super()._room_cases(root, seed, threads)


@dataclass(frozen=True)
class Engines:
    """Run rooms by each engine and hold the results against each other."""

    out: Path = Path("outputs/engines")
    """Folder; what is finished in it is kept."""
    engines: tuple[EngineName, ...] = ("local", "ray", "slurm")
    """Which."""
    json: Path | None = None
    """JSON to write."""


@contextmanager
def two_nodes() -> Iterator[str]:
    """The address of a Ray cluster: a head that runs nothing, and two nodes with a core each."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")  # on a crowded machine its helpers start slowly
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        assert cluster.address is not None
        yield cluster.address
    finally:
        cluster.shutdown()


def faults(found: dict[str, dict[str, Any]], damaged: str) -> list[str]:
    """What is not as it should be."""
    said = []
    first = next(iter(found))
    for name, of in found.items():
        if list(of["failures"]) != [damaged]:
            said.append(f"{name}: failed: {list(of['failures'])}, and not {damaged} alone")
        if of["tries"] != 2:
            said.append(f"{name}: {damaged} was tried {of['tries']} times, not twice")
        if of["results"] != found[first]["results"]:
            said.append(f"{name}: other results than {first}")
        if len(of["results"]) != 2:
            said.append(f"{name}: {len(of['results'])} results, not 2")
    return said


def by_engine(command: DamagedRooms) -> dict[str, Any]:
    """Results without times, failures, and how often the damaged room was tried."""
    outcome = command.run()
    results = _without_times(read_json(command.out / "results.json")["cases"])
    tries = Counter((command.out / _TRIES).read_text().split())
    return {"results": results, "failures": dict(outcome.failures),
            "tries": max((tries[name] for name in outcome.failures), default=0)}  # fmt: skip


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(entry) for key, entry in value.items() if "seconds" not in key}
    return [_without_times(entry) for entry in value] if isinstance(value, list) else value


def main(options: Engines) -> int:
    """Run and print."""
    console, found = Console(soft_wrap=True), {}
    scenes = options.out.absolute() / "scenes"
    scenes.mkdir(parents=True, exist_ok=True)
    for name in options.engines:
        (options.out / name).mkdir(exist_ok=True)
        if not (options.out / name / "scenes").exists():
            (options.out / name / "scenes").symlink_to(scenes)
        command = importable(DamagedRooms)(out=options.out / name, engine=name)
        if name == "ray":
            with two_nodes() as address:
                found[name] = by_engine(replace(command, ray_address=address))
        else:
            found[name] = by_engine(command)
    damaged = next(iter(found[options.engines[0]]["failures"]), "no room")
    said = faults(found, damaged)
    for name, of in found.items():
        console.print(f"{name}: {len(of['results'])} rooms, {damaged} tried {of['tries']} times: "
                      f"{of['failures'].get(damaged, 'not refused')}", markup=False, highlight=False)  # fmt: skip
    for fault in said:
        console.print(fault, style="red", markup=False, highlight=False)
    if options.json is not None:
        write_json(options.json, {"engines": found, "faults": said})
    return 1 if said else 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Engines)))
