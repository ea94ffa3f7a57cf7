# SPDX-License-Identifier: Apache-2.0
"""The panoptic mesh of trained rooms against their true surfaces: ``python -m benchmarks.mesh``.

Accuracy is the distance of points on the mesh to the true surface, completeness that of true points to the mesh; the
F-score is the harmonic mean of the shares within 5 cm. True points are those of the rooms' primitives that are in no
other and that a fused view sees, by casting rays; the mesh is whole, whether seen or not. Labels are scored on the true
points, each with the label of the mesh's nearest vertex within 10 cm.
"""

from __future__ import annotations

import importlib
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from rich.console import Console
from rich.table import Table
from scipy.spatial import KDTree

from benchmarks.quality.command import main
from benchmarks.quality.measurements import Measurement, Outcome, scene_stamp
from benchmarks.quality.nerfstudio_run import NerfstudioRun
from benchmarks.quality.rooms import RoomOptions
from benchmarks.speed.timing import machine
from panoptic_gs.camera import Camera
from panoptic_gs.errors import InputError
from panoptic_gs.export import interpolate_cameras
from panoptic_gs.files import write_json
from panoptic_gs.mesh import (
    FusionOptions,
    LabelledMesh,
    MeshOptions,
    fuse,
    make_physics,
    reconstruct,
    scene_surface,
    write_simulation,
)
from panoptic_gs.metrics.panoptic_quality import panoptic_quality
from panoptic_gs.metrics.points import LabelledPoints, point_table, score_points
from panoptic_gs.metrics.protocol import STRICT
from panoptic_gs.replacing import replacing_folder
from panoptic_gs.scene import Scene
from panoptic_gs.synthetic.noise import PredictionNoise, simulate_predictions
from panoptic_gs.synthetic.primitives import Patch, Primitive
from panoptic_gs.synthetic.raycast import RoomRenderer
from panoptic_gs.synthetic.room import Room, make_room
from panoptic_gs.synthetic.scenes import fill_scene_folder, synthesize
from panoptic_gs.uplift import LabelledScene
from panoptic_gs.uplift.checkpoint import load_checkpoint

_UP = np.array([0.0, 0.0, 1.0])
_NEAR = 0.05  # metres
_PER_AREA = 2500  # true points a square metre
_SAMPLED = 200_000  # points on the mesh
_TIMED_VIEWS = 100
_TIMED_SIZE = (640, 480)


@dataclass(frozen=True)
class MeshBenchmark(RoomOptions):
    """Mesh trained rooms, and score surface and labels against the generator's truth."""

    out: Path = Path("outputs/mesh")
    """Folder for scenes, runs and the table; finished trainings in it are kept."""
    width: int = 320
    """Image width in pixels; the height is three quarters of it."""
    voxel: float = 0.02
    """Edge of a voxel in metres."""
    quantile: float | None = None
    """Share of a pixel's coverage that lies before its surface; by default as opaque as the Gaussians are."""
    iterations: int | None = None
    """Training iterations; by default the method's own."""
    physics: bool = False
    """Simulate the rooms, too: five seconds of MuJoCo at 500 Hz, of MJCF and of URDF. Needs mujoco and coacd."""

    def run(self) -> Outcome:
        """Train what is not trained yet, mesh, score, and write mesh.json and a table."""
        console = Console()
        outcome = self.measured([self._measurement(seed, console) for seed in self.seeds], console, self.out / "logs",
                                lambda row: f"{row['triangles']:,} triangles in {row['seconds']:.1f} s")  # fmt: skip
        rows = outcome.results
        if not rows:
            return outcome
        speed = self._speed(rows[0]["room"])
        mean = {name: float(np.mean([row[name] for row in rows])) for name in _COLUMNS}
        options = {"voxel": self.voxel, "quantile": self.quantile, "iterations": self.iterations}
        write_json(self.out / "mesh.json", {"machine": machine("cpu"), "options": options, "mean": mean, "speed": speed,
                                            "rooms": list(rows), "failures": dict(outcome.failures)})  # fmt: skip
        table = Table("room", *_COLUMNS.values())
        for row in (*rows, {"room": "mean", **mean}):
            table.add_row(str(row["room"]), *(f"{row[name]:.3f}" for name in _COLUMNS))
        console.print(table)
        for row in rows:
            if "physics" in row:
                console.print("Room {}: {bodies} free bodies, at most {height:.1f} mm up or down and {ground:.1f} mm "
                              "along the ground".format(row["room"], **row["physics"]), highlight=False)  # fmt: skip
        console.print(f"{_TIMED_VIEWS} views of 640×480: {speed['seconds']:.1f} s, peak {speed['peak_gib']:.2f} GiB")
        return outcome

    def make_scene(self, root: Path, seed: int, recipe: dict[str, Any]) -> None:
        """A room with simulated predictions, as the method trains on."""
        made = synthesize(seed, self.views, self.width, 3 * self.width // 4)
        predictions = simulate_predictions(made.truth, PredictionNoise.preset("default"), seed)
        with replacing_folder(root, overwrite=True, known_by="transforms.json") as folder:
            fill_scene_folder(folder, made, predictions)
            write_json(folder / "recipe.json", recipe)

    def _measurement(self, seed: int, console: Console) -> Measurement:
        root, folder = self.scene(seed, console), self.out / "runs" / f"room-{seed}"
        signature = {**scene_stamp(root, "panoptic", "panoptic_gt"), "seed": seed, "iterations": self.iterations,
                     "physics": self.physics, **asdict(self._fusion())}  # fmt: skip
        return Measurement(root.name, self._measure, (root, folder, seed), folder / "result.json", signature,
                           folder / "log.txt")  # fmt: skip

    def _measure(self, root: Path, folder: Path, seed: int, threads: int) -> dict[str, Any]:
        run = NerfstudioRun(folder, Console(quiet=True), folder / "log.txt", threads)
        run.train_once(root, () if self.iterations is None else ("--max-num-iterations", str(self.iterations)))
        data, room = Scene.load(root), make_room(seed)
        cameras = [frame.camera for frame in data.split("train")]
        scene = load_checkpoint(run.config)
        started = time.monotonic()
        fusion = fuse(scene, cameras, _UP, self._fusion())
        surface = scene_surface(fusion, MeshOptions())
        seconds = time.monotonic() - started
        truth = true_points(room, cameras)
        category_of = scene.labelling.category_of()
        true_maps = data.load_panoptic("panoptic_gt")
        pred = LabelledPoints(surface.vertices, category_of[surface.segment].astype(np.int64),
                              surface.segment.astype(np.int64))  # fmt: skip
        table = point_table(pred, truth)
        scores = score_points(table, true_maps.categories)
        pq = panoptic_quality(table, true_maps.categories, STRICT)
        simulated = {"physics": _simulated(scene, cameras, self._fusion())} if self.physics else {}
        return {"room": seed, **surface_scores(surface, truth.positions, room), "miou": scores["miou"], "pq": pq.pq,
                "seconds": seconds, "triangles": len(surface.faces), "gaussians": len(scene.splats),
                **simulated}  # fmt: skip

    def _fusion(self) -> FusionOptions:
        return FusionOptions(voxel=self.voxel, quantile=self.quantile)

    def _speed(self, seed: int) -> dict[str, float]:
        """A hundred views of 640×480, surface and smoothing included, in this process."""
        frames = Scene.load(self.scene(seed, Console(quiet=True))).split("all")
        path = list(interpolate_cameras([frame.camera for frame in frames], 3).values())[:_TIMED_VIEWS]
        cameras = [camera.resized(*_TIMED_SIZE) for camera in path]
        scene = load_checkpoint(NerfstudioRun(self.out / "runs" / f"room-{seed}", Console(quiet=True)).config)
        started, used = time.monotonic(), time.process_time()
        fusion = fuse(scene, cameras, _UP, self._fusion())
        scene_surface(fusion, MeshOptions())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - used,
                "peak_gib": peak / 2**30, "volume_mib": fusion.volume.num_bytes / 2**20}  # fmt: skip


def _simulated(scene: LabelledScene, cameras: Sequence[Camera], fusion: FusionOptions) -> dict[str, float]:
    """How many bodies of a room are free, and how far they get in millimetres, at most."""
    physics = make_physics(reconstruct(scene, cameras, _UP, fusion, MeshOptions()), 1.0)
    with tempfile.TemporaryDirectory() as folder:
        write_simulation(Path(folder), physics)
        steps = [simulate(Path(folder) / file) for file in ("scene.xml", "scene.urdf")]
    moved = np.concatenate([step for of_file in steps for step in of_file.values()] or [np.zeros(3)]).reshape(-1, 3)
    return {"bodies": len(steps[0]), "height": 1000 * float(np.abs(moved[:, 2]).max()),
            "ground": 1000 * float(np.linalg.norm(moved[:, :2], axis=1).max())}  # fmt: skip


def simulate(file: Path, seconds: float = 5.0) -> dict[str, np.ndarray]:
    """How far ``[3]`` in metres each free body of an MJCF or URDF file gets in MuJoCo.

    Raises:
        InputError: MuJoCo is not installed.
    """
    try:
        mujoco: Any = importlib.import_module("mujoco")
    except ModuleNotFoundError as error:
        raise InputError("mujoco", "not installed", "mujoco, to simulate with",
                         "Install it with: pip install mujoco") from error  # fmt: skip
    model = mujoco.MjModel.from_xml_path(str(file))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    start = data.xpos.copy()
    for _ in range(round(seconds / model.opt.timestep)):
        mujoco.mj_step(model, data)
    free = model.jnt_bodyid[model.jnt_type == mujoco.mjtJoint.mjJNT_FREE]
    return {mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_BODY, body): data.xpos[body] - start[body] for body in free}


_COLUMNS = {
    "accuracy": "accuracy [m]", "completeness": "completeness [m]", "precision": "precision", "recall": "recall",
    "f_score": "F at 5 cm", "miou": "3D mIoU", "pq": "PQ",
}  # fmt: skip


def surface_scores(mesh: LabelledMesh, truth: np.ndarray, room: Room) -> dict[str, float]:
    """Accuracy, completeness and F-score of a mesh.

    Args:
        mesh: in the room's frame.
        truth: ``[P, 3]`` true points that views see, for completeness.
        room: whose whole surface the accuracy is of.
    """
    sampled = trimesh.sample.sample_surface(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), _SAMPLED, seed=0)
    points = np.asarray(sampled[0])
    whole, _ = surface_points(room)
    accuracy, completeness = KDTree(whole).query(points)[0], KDTree(points).query(truth)[0]
    precision, recall = float((accuracy < _NEAR).mean()), float((completeness < _NEAR).mean())
    return {
        "accuracy": float(accuracy.mean()), "completeness": float(completeness.mean()), "precision": precision,
        "recall": recall, "f_score": 2 * precision * recall / max(precision + recall, 1e-12),
    }  # fmt: skip


def true_points(room: Room, cameras: Sequence[Camera]) -> LabelledPoints:
    """Points on the true surfaces that at least one camera sees, with their segments and categories."""
    points, surface = surface_points(room)
    renderer = RoomRenderer(room)
    seen = np.zeros(len(points), dtype=bool)
    for camera in cameras:
        depth, _, _ = renderer.geometry(camera)
        viewmat, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
        local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
        z = np.maximum(local[:, 2], 1e-6)
        pixel = np.floor(local[:, :2] / z[:, None] * [K[0, 0], K[1, 1]] + [K[0, 2], K[1, 2]])
        inside = (local[:, 2] > 0.05) & (pixel >= 0).all(axis=1) & (pixel < [camera.width, camera.height]).all(axis=1)
        column, row = pixel[inside].astype(int).T
        seen[np.flatnonzero(inside)[np.abs(depth[row, column] - z[inside]) < 0.02 + 0.01 * z[inside]]] = True
    chosen = surface[seen]
    return LabelledPoints(points[seen], room.surface_categories[chosen].astype(np.int64),
                          room.surface_segments[chosen].astype(np.int64))  # fmt: skip


def surface_points(room: Room) -> tuple[np.ndarray, np.ndarray]:
    """Points ``[P, 3]`` on a room's surfaces that lie in no other primitive, and the number of each one's surface."""
    rng = np.random.default_rng(0)
    parts = [
        # The shell's box has two sides an axis; x and y are wall, the lower z is floor, the upper ceiling.
        (_on(room.shell, patch, rng), 0 if index < 4 else index - 3)
        for index, patch in enumerate(room.shell.patches())
    ]
    for number, primitive in enumerate(room.primitives):
        parts += [(_on(primitive, patch, rng), number + 3) for patch in primitive.patches()]
    points = np.concatenate([part for part, _ in parts])
    surface = np.repeat([number for _, number in parts], [len(part) for part, _ in parts])
    half = np.array([room.size[0] / 2, room.size[1] / 2])
    kept = (np.abs(points[:, :2]) <= half + 1e-6).all(axis=1)
    kept &= (points[:, 2] >= -1e-6) & (points[:, 2] <= room.size[2] + 1e-6)
    for primitive in room.primitives:
        low, high = primitive.bounds()
        near = np.flatnonzero(kept & (points > low).all(axis=1) & (points < high).all(axis=1))
        kept[near[primitive.inside(points[near].T, 1e-4)]] = False
    return points[kept], surface[kept]


def _on(primitive: Primitive, patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Random points ``[P, 3]`` on a patch; those on round caps cover the square around them and are cut."""
    count = int(np.clip(patch.extent[0] * patch.extent[1] * _PER_AREA, 8, 200_000))
    unit, _ = patch.surface(*rng.random((2, count)))
    if patch.shape == "cone" and patch.index > 0:
        radius = 1.0 if patch.index == 1 else patch.taper
        unit = unit[:, unit[0] ** 2 + unit[1] ** 2 <= radius**2]
    return (primitive.rotation @ (unit * primitive.size[:, None])).T + primitive.center


if __name__ == "__main__":
    main(MeshBenchmark)
